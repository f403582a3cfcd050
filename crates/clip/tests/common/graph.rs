//! ONNX files of one node, written out in protobuf, since they are small.

/// f32 [N, 3, 224, 224] named pixel_values goes through an operation, `Identity` or `Flatten`, and out as `output` of
/// these dimensions after the batch.
pub fn graph(operation: &str, output: &str, dims: &[u64]) -> Vec<u8> {
    let shape = |dims: &[u64]| {
        let known = dims.iter().flat_map(|&dim| field(1, &varint(1, dim)));
        field(1, &field(2, b"batch")).into_iter().chain(known).collect::<Vec<u8>>()
    };
    let kind = |dims: &[u64]| field(2, &field(1, &[varint(1, 1), field(2, &shape(dims))].concat()));
    let value = |name: &str, dims: &[u64]| [field(1, name.as_bytes()), kind(dims)].concat();
    let node = [field(1, b"pixel_values"), field(2, output.as_bytes()), field(4, operation.as_bytes())].concat();
    let graph = [
        field(1, &node),
        field(2, b"g"),
        field(11, &value("pixel_values", &[3, 224, 224])),
        field(12, &value(output, dims)),
    ]
    .concat();
    [varint(1, 8), field(7, &graph), field(8, &varint(2, 17))].concat()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], number_of(bytes.len() as u64), bytes.to_vec()].concat()
}

fn varint(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], number_of(value)].concat()
}

fn number_of(mut rest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while rest > 127 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}
