#!/usr/bin/env python3
"""Makes MODEL/onnx/vision_model_int8.onnx, which `worker --precision int8` uses, of MODEL/onnx/vision_model.onnx.

    quantise.py MODEL

The weights of matrices become 8-bit integers, one scale a column; activations are quantised while the model runs, so no
pictures are needed for it. The first convolution stays in fp32, which costs no time that could be measured. Unsigned
weights give the same vectors on processors without VNNI, where signed ones overflow.
"""
import pathlib, sys

from onnxruntime.quantization import QuantType, quantize_dynamic

folder = pathlib.Path(sys.argv[1]) / "onnx"
quantize_dynamic(folder / "vision_model.onnx", folder / "vision_model_int8.onnx",
                 op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8, per_channel=True)
