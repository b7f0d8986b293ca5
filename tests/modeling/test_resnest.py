"""ResNeSt of re-ID: its last layer halves no map, and is otherwise the authors' own."""

import pytest
import torch

from reidtools.registry import BACKBONES

SIZE = {"image_size": (64, 32)}


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    return BACKBONES.build("resnest50", SIZE, {}).eval()


def test_the_map_is_twice_as_fine_as_that_of_imagenet(network):
    images = torch.randn(1, 3, 64, 32)
    assert network(images).shape == (1, 2048, 4, 2)
    coarse = BACKBONES.build("resnest50", SIZE, {"last_stride": 2})
    assert coarse.eval()(images).shape == (1, 2048, 2, 1)
    with pytest.raises(ValueError, match="LAST_STRIDE of resnest50d is 3; set it to 1 or 2"):
        BACKBONES.build("resnest50", SIZE, {"last_stride": 3})


def test_the_first_block_of_the_last_layer_written_out(network):
    """An average over 3 x 3 after the split attention; a shortcut of one convolution."""
    block, x = network.model.layer4[0], torch.rand(2, 1024, 4, 2)
    with torch.inference_mode():
        y = torch.relu(block.bn1(block.conv1(x)))
        y = torch.nn.functional.avg_pool2d(block.conv2(y), 3, stride=1, padding=1)
        y = block.bn3(block.conv3(y))
        _, conv, norm = block.downsample
        expected = torch.relu(y + norm(conv(x)))
        assert torch.allclose(block(x), expected, atol=1e-6)
    assert conv.kernel_size == (1, 1) and conv.stride == (1, 1)


def test_no_kernel_is_spread(network):
    convolutions = [m for m in network.model.layer4.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(conv.dilation == (1, 1) for conv in convolutions)
