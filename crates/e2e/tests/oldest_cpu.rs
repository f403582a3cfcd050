//! A bundle runs on every x86-64 processor: here on the oldest of the first fleet, which has AVX and nothing above.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Lab, Said, finish, signal, wait_for};

/// An E5 v2 is one; what the emulator lacks of it is for systems, not programs.
const OLDEST: &str = "IvyBridge,-x2apic,-tsc-deadline";

/// A program on the emulated processor, in a laboratory's world. ONNX Runtime is the one of the bundle.
fn emulated(lab: &Lab, program: impl AsRef<OsStr>) -> Command {
    let mut command = lab.in_world(Command::new("qemu-x86_64"));
    command.args(["-cpu", OLDEST]).arg(program).env_remove("ORT_DYLIB_PATH");
    // A worker that starts itself again for large pages would leave the emulator.
    command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0");
    command
}

fn done(command: &mut Command) -> Said {
    let said = finish(command);
    assert_eq!(said.code, 0, "{command:?}: {said:?}");
    said
}

#[test]
fn a_bundle_embeds_merges_and_searches_on_the_oldest_processor() {
    let lab = Lab::new();
    lab.draw("", 3, 1);
    let bundle = lab.path("bundle");
    done(lab.command("worker").arg("bundle").arg("--out").arg(&bundle));
    let run = |name: &str| emulated(&lab, bundle.join("bin").join(name));

    // The self-check compares vectors with the known ones.
    done(run("worker").arg("check").arg("--work-dir").arg(lab.path("work")));

    let pictures: Vec<_> = fs::read_dir(lab.images()).unwrap().map(|e| e.unwrap().path()).collect();
    let list: String = pictures.iter().map(|p| format!("{}\n", p.display())).collect();
    fs::write(lab.path("list"), list).unwrap();
    let mut scan = run("worker");
    scan.arg("scan").arg("--image-dir").arg(lab.images()).arg("--index-prefix").arg(lab.prefix());
    done(scan.args(["--model", "demo"]));
    let mut worker = run("worker");
    worker.arg("--image-list").arg(lab.path("list")).arg("--index-prefix").arg(lab.prefix().join("worker_0"));
    worker.args(["--worker-id", "0", "--model", "demo"]).arg("--root").arg(lab.images());
    done(worker.arg("--work-dir").arg(lab.path("work")));
    done(run("merger").arg("--index-prefix").arg(lab.prefix()));
    assert_eq!(lab.paths().len(), 3);

    let mut server = run("server").spawn().unwrap();
    let socket = lab.path("run/imagefleet");
    let listens = || fs::read_dir(&socket).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| is_socket(&e.path()))));
    wait_for("the server to listen", listens);
    for picture in &pictures {
        // As the demo's pictures are called: yellow_car_001.jpg
        let name = picture.file_stem().unwrap().to_string_lossy().replace('_', " ");
        let what = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim();
        let mut query = run("query");
        query.arg("--index-prefix").arg(lab.prefix()).arg("--hosts").arg(lab.path("hosts"));
        let said = done(query.args(["--json", "--no-copy-results", "--top-k", "1", "--text", &format!("a {what}")]));
        let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(found["path"].as_str(), picture.to_str(), "{said:?}");
    }
    assert!(server.try_wait().unwrap().is_none(), "it was the emulated server that answered");
    signal(&server, "TERM");
    server.wait().unwrap();
}

fn is_socket(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "sock")
}

#[test]
fn the_emulated_processor_ends_what_needs_a_newer_one() {
    let lab = Lab::new();
    let run_on_it = |name: &str, instruction: &str| {
        let source = lab.path(format!("{name}.c"));
        fs::write(&source, format!("int main(void) {{ __asm__ volatile(\"{instruction}\"); return 0; }}\n")).unwrap();
        done(Command::new("cc").arg("-o").arg(lab.path(name)).arg(&source));
        finish(&mut emulated(&lab, lab.path(name)))
    };
    assert_eq!(run_on_it("avx", "vaddps %ymm0, %ymm0, %ymm0").code, 0);
    for (name, instruction) in [
        ("avx2", "vpaddd %ymm0, %ymm0, %ymm0"),
        ("fma", "vfmadd231ps %ymm0, %ymm0, %ymm0"),
        ("avx512", "vaddps %zmm0, %zmm0, %zmm0"),
    ] {
        let said = run_on_it(name, instruction);
        assert!(said.code != 0 && said.err.contains("Illegal instruction"), "{name}: {said:?}");
    }
}
