//! A thousand damaged copies of each input of this crate: each is read as what it may still be, or is an error that names
//! it; none costs more memory or time than its length.

use std::fs;
use std::io::{BufReader, Read, repeat};

use damage::{COPIES, Numbers, contained};
use protocol::setup::Bundle;
use protocol::{
    Chunk, Command, Entry, Event, Failure, HostFacts, ImagePath, ManifestReader, ManifestWriter, ModelIdentity,
    ScanSummary, Stages, decode_line, encode_line, lines, read_list,
};

const GIB: u64 = 1 << 30;

fn entries(count: u64) -> Vec<Entry> {
    let name = |i: u64| ImagePath::new(format!("{}/picture \"{i}\"\n.jpg", i / 7)).unwrap();
    (0..count).map(|i| Entry { path: name(i), size_bytes: i, mtime_ns: -(i as i64) }).collect()
}

#[test]
fn damaged_image_lists_are_read_or_refused() {
    contained(damaged_image_lists_are_read_or_refused, || {
        let mut numbers = Numbers::new(1);
        for whole in ["/a/b c.jpg\r\n/d\u{e9}.png\n\n\n/e\n", "/a\nb.jpg\0/c.jpg\0\0/d"] {
            for _ in 0..COPIES {
                let copy = damage::bytes(whole.as_bytes(), &mut numbers);
                let paths: Vec<Vec<u8>> = read_list(&copy[..]).unwrap().map(Result::unwrap).collect();
                let separator = if copy.contains(&0) { 0 } else { b'\n' };
                assert!(paths.iter().all(|path| !path.is_empty() && !path.contains(&separator)));
                assert!(paths.iter().map(|path| path.len() + 1).sum::<usize>() <= copy.len() + 1);
            }
        }
        for byte in [b'x', b' ', 0xFF] {
            let endless = BufReader::new(repeat(byte).take(16 * GIB));
            let error = read_list(endless).unwrap().collect::<Result<Vec<_>, _>>().unwrap_err();
            assert!(error.to_string().contains("longer than"), "{error}");
        }
    });
}

#[test]
fn damaged_manifests_name_the_file() {
    contained(damaged_manifests_name_the_file, || {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("the-manifest");
        let mut writer = ManifestWriter::new(Vec::new());
        let entries = entries(40);
        let offsets: Vec<u64> = entries.iter().map(|entry| writer.push(entry).unwrap()).collect();
        let whole = String::from_utf8(writer.into_inner()).unwrap();
        let chunk = Chunk { id: 3, offset: offsets[10], count: 20, bytes: 5 };
        let mut numbers = Numbers::new(2);
        let mut refused = 0;
        for _ in 0..COPIES {
            fs::write(&file, damage::json_lines(&whole, &mut numbers)).unwrap();
            let chunk: Chunk =
                serde_json::from_slice(&damage::json(encode_line(&chunk).as_bytes(), &mut numbers)).unwrap_or(chunk);
            let some = ManifestReader::open(&file).unwrap().chunk(&chunk);
            let all: Result<Vec<Entry>, _> = ManifestReader::open(&file).unwrap().collect();
            assert!(some.as_ref().is_ok_and(|some| some.len() as u64 == chunk.count) || some.is_err());
            for error in [some.err(), all.err()].into_iter().flatten() {
                refused += 1;
                assert!(error.to_string().contains("the-manifest"), "{error}");
            }
        }
        assert!(refused > COPIES / 2, "{refused}");
        // Nothing but holes: a line of 16 GiB.
        fs::File::create(&file).unwrap().set_len(16 * GIB).unwrap();
        let error = ManifestReader::open(&file).unwrap().collect::<Result<Vec<_>, _>>().unwrap_err();
        assert!(error.to_string().contains("the-manifest"), "{error}");
    });
}

fn commands() -> Vec<Command> {
    let chunk = Chunk { id: 3, offset: 80, count: 32, bytes: 9 };
    vec![
        Command::List { chunks: vec![chunk; 3] },
        Command::Encode { chunk, careful: true, blamed: vec![4] },
        Command::Drop { chunk_id: 7 },
        Command::Ping,
        Command::Finish,
        Command::Stop,
    ]
}

fn events() -> Vec<Event> {
    let text = || "text".to_owned();
    let failure = r#"{"path": "/a", "kind": "vanished", "detail": "d", "host": "h"}"#;
    let failure: Failure = serde_json::from_str(failure).unwrap();
    let model = ModelIdentity {
        model_name: text(),
        fingerprint: text(),
        embedding_dim: 4,
        precision: "fp32".into(),
        provider: "cpu".into(),
        deviation: Some(0.1),
    };
    let host = HostFacts { hostname: text(), cpus: 2, memory_bytes: 1 << 34 };
    vec![
        Event::Hello { version: text(), pid: 1, host },
        Event::Ready { model, threads: 2, batch_size: 8, load_seconds: 0.5 },
        Event::Scanning { scanned: 5 },
        Event::Chunk { chunk: Chunk { id: 3, offset: 80, count: 32, bytes: 9 } },
        Event::Scanned { summary: ScanSummary { scanned: 9, new: 9, ..Default::default() }, model: text() },
        Event::Progress { done: 3, failed: 1, stages: Stages { seconds: 2.0, ..Default::default() } },
        Event::Part { chunk_id: 3, name: text(), rows: 32, failed: 0, checksum: text(), found: false },
        Event::Trying { chunk_id: 3, row: 5 },
        Event::Failure { failure },
        Event::Warning { message: text() },
        Event::Done { rows: 3, failed: 1 },
        Event::Error { message: text() },
    ]
}

#[test]
fn damaged_commands_and_events_are_read_or_refused() {
    contained(damaged_commands_and_events_are_read_or_refused, || {
        let mut numbers = Numbers::new(3);
        let (commands, events) = (commands(), events());
        let mut refused = 0;
        for i in 0..COPIES {
            let command = encode_line(&commands[i % commands.len()]);
            let copy = String::from_utf8_lossy(&damage::json(command.as_bytes(), &mut numbers)).into_owned();
            match decode_line::<Command>(&copy) {
                Ok(command) => assert_eq!(decode_line::<Command>(&encode_line(&command)).unwrap(), command),
                Err(_) => refused += 1,
            }
            let event = encode_line(&events[i % events.len()]);
            let copy = String::from_utf8_lossy(&damage::json(event.as_bytes(), &mut numbers)).into_owned();
            match decode_line::<Event>(&copy) {
                Ok(Event::Progress { done, failed, stages }) => {
                    assert!(done.checked_add(failed).is_some());
                    assert!(!stages.words().is_empty() && stages.advice().len() < 200);
                }
                Ok(Event::Part { rows, failed, .. }) => assert!((rows + failed).checked_mul(1 << 20).is_some()),
                Ok(event) => assert!(!encode_line(&event).is_empty()),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > COPIES / 2, "{refused}");
        // Brackets in brackets, and a line without an end.
        let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert!(decode_line::<Event>(&deep).is_err());
        let endless = BufReader::new(repeat(b'[').take(16 * GIB));
        assert!(lines(endless, protocol::LONGEST_EVENT).any(|line| line.is_err()));
    });
}

#[test]
fn damaged_bundle_manifests_are_read_or_refused() {
    contained(damaged_bundle_manifests_are_read_or_refused, || {
        let whole = br#"{"name": "0.1.0-abc", "version": "0.1.0", "target": "x86_64-linux", "glibc": "2.36",
            "files": [{"path": "bin/worker", "bytes": 5, "checksum": "00", "program": true}]}"#;
        let mut numbers = Numbers::new(5);
        let copies = (0..COPIES).map(|_| serde_json::from_slice::<Bundle>(&damage::json(whole, &mut numbers)));
        let read = copies.filter(Result::is_ok).count();
        assert!((100..COPIES).contains(&read), "{read}");
    });
}
