//! Workers with little memory: batches become as small as they must, and nothing is lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Lab, Said, finish, memory_group};

/// Embeds the laboratory's pictures by a worker with 200 MiB, in batches of 4,096; `hidden`: it cannot see its limit.
fn embed_limited(lab: &Lab, group: &Path, hidden: bool) -> Said {
    let list = lab.path("list");
    let pictures = fs::read_dir(lab.images()).unwrap().map(|e| format!("{}\n", e.unwrap().path().display()));
    fs::write(&list, pictures.collect::<String>()).unwrap();
    let hide = if hidden { "mount -t tmpfs none /sys/fs/cgroup && " } else { "" };
    let script = format!("echo $$ > {}/cgroup.procs && {hide}exec \"$@\"", group.display());
    let worker = lab.command("worker");
    let mut limited = lab.in_world(Command::new("unshare"));
    limited.args(["--mount", "sh", "-c", &script, "sh"]).arg(worker.get_program());
    limited.args(["--model=demo", "--batch-size=4096"]);
    limited.arg("--image-list").arg(list).arg("--index-prefix").arg(lab.prefix().join("worker_0"));
    finish(&mut limited)
}

#[test]
fn a_worker_in_a_small_control_group_takes_smaller_batches_and_loses_nothing() {
    let Some(group) = memory_group(&format!("imagefleet-{}", std::process::id()), 200 << 20) else {
        eprintln!("NOT RUN: there is no control group for memory here that may be written to");
        return;
    };
    let lab = Lab::new();
    lab.draw("", 800, 1);
    let unseen = embed_limited(&lab, &group, true);
    let said = embed_limited(&lab, &group, false);
    fs::remove_dir(group).unwrap();
    assert_eq!(unseen.code, -1, "the limit is real: {unseen:?}");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains(" instead of 4096 pictures, for which the worker needs about"), "{said:?}");
    assert!(said.err.contains("Done: 800 images embedded, 0 failed"), "{said:?}");
}

#[test]
fn the_memory_that_a_host_line_gives_is_what_its_worker_may_use() {
    let lab = Lab::new();
    lab.draw("", 60, 1);
    let hosts = fs::read_to_string(lab.path("hosts")).unwrap();
    fs::write(lab.path("hosts"), hosts.replace('\n', " ram_gb=0.125 batch_size=4096\n")).unwrap();
    let said = lab.index(&["--provider", "cpu"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains(" instead of 4096 pictures") && said.err.contains("may use 0.12"), "{said:?}");
    assert_eq!(lab.rows().len(), 60);
}

#[test]
fn a_batch_that_fails_for_memory_is_halved_and_tried_again_and_the_rest_keeps_the_smaller_one() {
    let lab = Lab::new();
    lab.draw("", 100, 1);
    let model = greedy_model(&lab, 100_000_000_000_000);
    let said = lab.index(&["--provider", "cpu", "--batch-size", "32", "--model", &model]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(halved_to(&said), [16, 8], "{said:?}");
    assert_eq!(lab.rows().len(), 100);
}

#[test]
fn a_worker_that_takes_more_than_was_thought_goes_on_with_less() {
    let lab = Lab::new();
    lab.draw("", 100, 1);
    let hosts = fs::read_to_string(lab.path("hosts")).unwrap();
    fs::write(lab.path("hosts"), hosts.replace('\n', " ram_gb=0.8\n")).unwrap();
    // With 32 pictures 1.0 GB, with 16 of them 0.6.
    let model = greedy_model(&lab, 10_000_000);
    let said = lab.index(&["--provider", "cpu", "--batch-size", "32", "--model", &model]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(halved_to(&said), [16], "{said:?}");
    assert!(said.err.contains("of memory are in use, 0.80 are allowed"), "{said:?}");
    assert_eq!(lab.rows().len(), 100);
}

/// The batches that a worker says it goes on with.
fn halved_to(said: &Said) -> Vec<u32> {
    let told = said.err.split("from now on batches are of ").skip(1);
    told.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// The demo model, but it takes memory for `values` values of 4 bytes for each picture beyond ten in a batch.
fn greedy_model(lab: &Lab, values: i64) -> String {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let model = lab.path("model");
    let copied = finish(Command::new("cp").arg("-r").arg(demo).arg(&model));
    assert_eq!(copied.code, 0, "{copied:?}");
    let graph = model.join("onnx/vision_model.onnx");
    let greedy = [fs::read(&graph).unwrap(), greedy_beyond_ten(values)].concat();
    fs::write(&graph, greedy).unwrap();
    model.display().to_string()
}

/// Another output for a graph, `values` zeros for each picture beyond ten, which the graph gets if this stands behind it
/// in its file: Protocol Buffers merge what is there twice.
fn greedy_beyond_ten(values: i64) -> Vec<u8> {
    let numbers = [("zero", 0), ("ten", 10), ("many", values)];
    let nodes: [(&str, &[&str], &str); 6] = [
        ("Shape", &["pixel_values"], "shape"),
        ("Gather", &["shape", "zero"], "pictures"),
        ("Sub", &["pictures", "ten"], "beyond"),
        ("Max", &["beyond", "zero"], "more"),
        ("Mul", &["more", "many"], "values"),
        ("ConstantOfShape", &["values"], "greed"),
    ];
    // The fields' numbers are those of onnx.proto.
    let node = |(kind, inputs, output): (&str, &[&str], &str)| {
        let inputs = inputs.iter().flat_map(|input| field(1, input.as_bytes()));
        let node: Vec<u8> = inputs.chain(field(2, output.as_bytes())).chain(field(4, kind.as_bytes())).collect();
        field(1, &node)
    };
    let number = |(name, value): (&str, i64)| {
        let dims_1_of_int64 = vec![0x08, 1, 0x10, 7];
        field(5, &[dims_1_of_int64, field(8, name.as_bytes()), field(9, &value.to_le_bytes())].concat())
    };
    let f32_vector = field(1, &[vec![0x08, 1], field(2, &field(1, &field(2, b"n")))].concat());
    let output = field(12, &[field(1, b"greed"), field(2, &f32_vector)].concat());
    let graph: Vec<u8> =
        nodes.into_iter().flat_map(node).chain(numbers.into_iter().flat_map(number)).chain(output).collect();
    field(7, &graph)
}

/// A field of Protocol Buffers that holds bytes, fewer than 16,384.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let head = if length < 128 { vec![length as u8] } else { vec![(length & 127) as u8 | 128, (length >> 7) as u8] };
    [vec![number << 3 | 2], head, bytes.to_vec()].concat()
}
