//! Many who ask at once, slow ones and hostile ones: each gets an answer, and nobody waits for them.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;

use common::collection::{Collection, WORDS, golden};
use common::{Home, JSON, Server, exchange, percent};
use serde_json::json;

#[test]
fn fifty_at_once_are_all_answered() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    for words in WORDS {
        fs::write(pictures.picture(words), golden("landscape.jpg")).unwrap();
    }
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let socket = &server.socket;
    std::thread::scope(|scope| {
        for client in 0..50usize {
            let (server, pictures) = (&server, &pictures);
            scope.spawn(move || {
                let words = WORDS[client % 5];
                let picture = pictures.picture(words);
                for _ in 0..4 {
                    let (status, answer) = server.search("imageindex", words, 1);
                    assert_eq!((status, &answer["matches"][0]["path"]), (200, &json!(picture)), "{answer}");
                    let path = percent(picture.to_str().unwrap());
                    let path = format!("/v1/indexes/imageindex/thumbnail?height={}&path={path}", 64 + client);
                    let (status, _, jpeg) = exchange(socket, "GET", &path, "", b"").unwrap();
                    assert_eq!((status, &jpeg[..2]), (200, &[0xFF, 0xD8][..]));
                    assert_eq!(server.search("no-such-index", words, 1).0, 404);
                    assert_eq!(server.get("/v1/indexes/imageindex/stats").0, 200);
                }
            });
        }
    });
}

#[test]
fn texts_that_are_encoded_together_are_found_as_each_alone() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let score = |server: &Server, text: &str| {
        let body = json!({"text": text, "top_k": 1, "templates": true});
        let (status, answer) = server.post("/v1/indexes/imageindex/search", &body);
        assert_eq!(status, 200, "{answer}");
        answer["matches"][0]["score"].as_f64().unwrap()
    };
    // Of different lengths; the short ones get phrases around them, and some are asked for twice.
    let texts: Vec<String> = (0..40).map(|i| "cat red ".repeat(1 + i % 7) + &(i / 2).to_string()).collect();
    let start = Barrier::new(texts.len());
    let together: Vec<f64> = std::thread::scope(|scope| {
        let (server, start, score) = (&server, &start, &score);
        let ask = |text| {
            move || {
                start.wait();
                score(server, text)
            }
        };
        let asked: Vec<_> = texts.iter().map(|text| scope.spawn(ask(text))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    drop(server);
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    for (text, together) in texts.iter().zip(together) {
        let alone = score(&server, text);
        assert!((alone - together).abs() < 1e-5, "{text}: {together} together, {alone} alone");
    }
}

#[test]
fn who_sends_slowly_or_never_keeps_nobody_waiting() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let post = "POST /v1/indexes/imageindex/search HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let beginnings = [
        "GET /v1/sta".to_owned(),
        format!("{post}content-length: 100\r\n\r\n{{\"text\""),
        format!("{post}content-length: 134000000\r\n\r\n{{\"terms\": [{{\"picture\": \"aaaa"),
        format!("{post}transfer-encoding: chunked\r\n\r\n5\r\n{{\"ter"),
    ];
    let mut stalled: Vec<UnixStream> = Vec::new();
    for _ in 0..20 {
        for beginning in &beginnings {
            let mut stream = UnixStream::connect(&server.socket).unwrap();
            stream.write_all(beginning.as_bytes()).unwrap();
            stalled.push(stream);
        }
    }
    for words in WORDS {
        assert_eq!(server.search("imageindex", words, 1).0, 200);
    }
    let mut late = stalled.swap_remove(1);
    late.write_all(
        &[b": \"a black cat\", \"top_k\": 1, \"exact\": true}"[..].to_vec(), vec![b' '; 100]].concat()[..93],
    )
    .unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn hostile_requests_are_refused_and_leave_the_server_well() {
    let home = Home::new();
    let pictures = Collection::new(&home, "a");
    let server = home.serve(&[]);
    server.open(pictures.prefix.dir());
    let deep = "[".repeat(100_000);
    let bodies: [Vec<u8>; 12] = [
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        deep.clone().into_bytes(),
        format!("{{\"terms\": {deep}").into_bytes(),
        br#"{"text": "a", "top_k": 1e999}"#.to_vec(),
        br#"{"text": "a", "top_k": 18446744073709551616}"#.to_vec(),
        br#"{"text": "a", "top_k": 1, "unknown": 1}"#.to_vec(),
        br#"{"text": {"$ne": null}, "top_k": 1}"#.to_vec(),
        br#"{"terms": [{"picture": "AAAA", "weight": "NaN"}], "top_k": 1}"#.to_vec(),
        br#"{"requests": [{"text": "a"}]}"#.to_vec(),
    ];
    let names = ["imageindex", "none", "..", "%2e%2e%2f%2e%2e", "%00", "a%20b", "%ff", "imageindex%2Fsearch"];
    let mut refused = 0;
    for name in names {
        for route in ["search", "search/batch", "copy"] {
            for body in &bodies {
                let path = format!("/v1/indexes/{name}/{route}");
                let (status, head, _) = exchange(&server.socket, "POST", &path, JSON, body).unwrap();
                assert!((400..500).contains(&status), "{path} {:?}: {head}", String::from_utf8_lossy(body));
                refused += 1;
            }
        }
    }
    assert!(refused > 200);
    let huge = vec![b' '; (128 << 20) + 1];
    let (status, _, _) = exchange(&server.socket, "POST", "/v1/indexes/imageindex/search", JSON, &huge).unwrap();
    assert_eq!(status, 413);
    let long = format!("/v1/indexes/imageindex/picture?path={}", "x".repeat(60_000));
    assert_eq!(exchange(&server.socket, "GET", &long, "", b"").unwrap().0, 404);
    let longer = format!("/v1/indexes/imageindex/picture?path={}", "x".repeat(1 << 20));
    assert!(
        exchange(&server.socket, "GET", &longer, "", b"").is_none_or(|(status, _, _)| (400..500).contains(&status))
    );
    assert_eq!(server.search("imageindex", "a black cat", 1).0, 200);
}
