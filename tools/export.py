"""Write MODEL.WEIGHTS as an ONNX file, TorchScript or torch.export, checked against torch."""

from _tool import tool

OWN = {
    "--format": {"default": "onnx", "help": "onnx (default), torchscript or torch_export"},
    "--output": {"default": "", "metavar": "FILE", "help": "default output_dir/<weights>.onnx"},
    "--opset": {"type": int, "default": 18, "metavar": "N", "help": "of ONNX; default 18"},
    "--int8": {"action": "store_true", "help": "an ONNX file with 8-bit weights, too"},
    "--test": {"action": "store_true", "help": "test the model and its files on the test sets"},
}


def export(rt, cfg, args):
    names = ("output", "format", "opset", "int8", "test")
    rt.export_model(cfg, **{name: getattr(args, name) for name in names})


if __name__ == "__main__":
    tool(__doc__, export, more=OWN)
