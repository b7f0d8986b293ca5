"""Models whose weights come from a file: they are built without drawing any."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NAMES = ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_")
NAMES += ("xavier_uniform_", "xavier_normal_", "trunc_normal_")
DRAWS = {
    getattr(place, name) for place in (nn.init, Tensor) for name in NAMES if hasattr(place, name)
}
DRAWS.add(Tensor.erfinv_)  # what older truncated normals make of uniform numbers


class Blank(TorchFunctionMode):
    """Within this context a new weight that would be drawn by chance is 0 instead.

    Drawing the 86 million weights of a ViT-B takes seconds, for nothing where a file fills them
    all. Constants, such as the ones and zeros of a norm, stay what they are, and so do buffers and
    whatever else is no ``nn.Parameter``: tables of positions, masks.

        with Blank():
            model = make()
        model.load_state_dict(state)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS:
            weight = args[0] if args else kwargs["tensor"]
            if isinstance(weight, nn.Parameter):
                return nn.init.zeros_(weight)
        return func(*args, **kwargs)
