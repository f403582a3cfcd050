//! Fetching, tried against a small server that answers as the hub does.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

const SMALL: &[u8] = b"{\"a\": 1}";

static MODEL: HubModel = HubModel {
    name: "tested",
    repository: "maker/tested",
    revision: "0123456789abcdef0123456789abcdef01234567",
    sizes: [3_000, 10_000, 5_000],
};

fn content(file: &str) -> Vec<u8> {
    let large = |n: usize| (0..n).map(|i| (i * 31 + n) as u8).collect();
    match file {
        "tokenizer.json" => large(3_000),
        "onnx/vision_model.onnx" => large(10_000),
        "onnx/text_model.onnx" => large(5_000),
        _ => [SMALL, file.as_bytes()].concat(),
    }
}

#[derive(Default)]
struct Behaviour {
    /// Data requests are cut off after this many bytes; 0 for never.
    cut_after: AtomicUsize,
    /// Large files come with other bytes than their checksum promises.
    damaged: bool,
    /// Nothing is found.
    empty: bool,
    /// Requests as "path range authorization".
    requests: Mutex<Vec<String>>,
}

struct Server {
    address: String,
    behaviour: Arc<Behaviour>,
}

fn serve(behaviour: Behaviour) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let behaviour = Arc::new(behaviour);
    let (shared, own) = (behaviour.clone(), address.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (behaviour, own) = (shared.clone(), own.clone());
            std::thread::spawn(move || answer(stream, &behaviour, &own));
        }
    });
    Server { address, behaviour }
}

/// Answers one request and closes. Large files stand behind a redirect, as on the hub.
fn answer(mut stream: TcpStream, behaviour: &Behaviour, own: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let value =
            headers.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        value.map_or("", |(_, value)| value).to_owned()
    };
    let range = header("range");
    behaviour.requests.lock().unwrap().push(format!("{path} {range} {}", header("authorization")));
    let resolve = format!("/{}/resolve/{}/", MODEL.repository, MODEL.revision);
    let (file, redirected) = match path.strip_prefix("/cdn/") {
        Some(file) => (file, true),
        None => (path.strip_prefix(&resolve).unwrap_or(""), false),
    };
    if behaviour.empty || !PATHS.contains(&file) {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return None;
    }
    let mut bytes = content(file);
    let checksum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let large = file.ends_with(".onnx");
    let common = format!("X-Repo-Commit: {}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n", MODEL.revision);
    if large && !redirected {
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {own}/cdn/{file}\r\nX-Linked-ETag: \"{checksum}\"\r\nContent-Length: 0\r\n{common}\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        return None;
    }
    if large && behaviour.damaged {
        bytes[77] ^= 1;
    }
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().unwrap_or(bytes.len() - 1);
    let body = &bytes[first..=last];
    let etag = if large { checksum } else { checksum[..40].to_owned() };
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nContent-Range: bytes {first}-{last}/{}\r\nContent-Length: {}\r\n{common}\r\n",
        bytes.len(),
        body.len()
    );
    let cut = behaviour.cut_after.load(Ordering::SeqCst);
    let sent = if cut > 0 && body.len() > cut { &body[..cut] } else { body };
    let _ = stream.write_all(&[head.as_bytes(), sent].concat());
    let _ = stream.shutdown(Shutdown::Both);
    None
}

fn hub(endpoint: &str, cache: &Path) -> Hub {
    Hub { endpoint: endpoint.into(), cache: cache.into(), token: Some("secret".into()), offline: false }
}

/// An address at which nothing listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn assert_whole(folder: &Path) {
    for file in PATHS {
        assert_eq!(fs::read(folder.join(file)).unwrap(), content(file), "{file}");
    }
}

#[test]
fn a_fetched_model_opens_without_a_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Behaviour::default());
    let folder = hub(&server.address, cache.path()).folder(&MODEL).unwrap();
    assert_whole(&folder);
    assert_eq!(folder, cache.path().join("models--maker--tested/snapshots").join(MODEL.revision));
    assert!(server.behaviour.requests.lock().unwrap()[0].ends_with(" Bearer secret"));
    assert_eq!(hub(&nobody(), cache.path()).folder(&MODEL).unwrap(), folder);
}

#[test]
fn a_transfer_that_breaks_off_is_continued_and_nothing_half_counts_as_whole() {
    let cache = tempfile::tempdir().unwrap();
    let cut = Behaviour { cut_after: AtomicUsize::new(2_000), ..Default::default() };
    let server = serve(cut);
    let error = hub(&server.address, cache.path()).folder(&MODEL).unwrap_err().to_string();
    assert!(error.contains("onnx/vision_model.onnx: ") && error.contains("tried 4 times"), "{error}");
    // 4 attempts of 2,000 bytes were enough for the tokenizer, but not for the graph.
    let folder = cache.path().join("models--maker--tested/snapshots").join(MODEL.revision);
    assert!(folder.join("tokenizer.json").is_file() && !folder.join("onnx/vision_model.onnx").exists());

    server.behaviour.cut_after.store(0, Ordering::SeqCst);
    server.behaviour.requests.lock().unwrap().clear();
    assert_whole(&hub(&server.address, cache.path()).folder(&MODEL).unwrap());
    let requests = server.behaviour.requests.lock().unwrap();
    assert!(requests.iter().any(|r| r.starts_with("/cdn/onnx/vision_model.onnx bytes=8000- ")), "{requests:#?}");
    assert!(!requests.iter().any(|r| r.contains("tokenizer.json")), "{requests:#?}");
}

#[test]
fn what_was_left_complete_or_too_long_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Behaviour::default());
    let folder = hub(&server.address, cache.path()).folder(&MODEL).unwrap();
    let blob = fs::canonicalize(folder.join("onnx/text_model.onnx")).unwrap();
    fs::write(blob.with_extension("part"), vec![9; 6_000]).unwrap();
    fs::write(&blob, [1, 2, 3]).unwrap();
    assert_whole(&hub(&server.address, cache.path()).folder(&MODEL).unwrap());
}

#[test]
fn damaged_bytes_are_not_kept() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Behaviour { damaged: true, ..Default::default() });
    let error = hub(&server.address, cache.path()).folder(&MODEL).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    let folder = cache.path().join("models--maker--tested/snapshots").join(MODEL.revision);
    assert!(fs::symlink_metadata(folder.join("onnx/vision_model.onnx")).is_err());
}

#[test]
fn an_absent_model_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Behaviour { empty: true, ..Default::default() });
    let not_found = hub(&server.address, cache.path()).folder(&MODEL).unwrap_err().to_string();
    assert!(not_found.contains("404"), "{not_found}");
    let refused = hub(&nobody(), cache.path()).folder(&MODEL).unwrap_err().to_string();
    let offline = Hub { offline: true, ..hub(&server.address, cache.path()) }.folder(&MODEL).unwrap_err().to_string();
    assert!(offline.contains("HF_HUB_OFFLINE"), "{offline}");
    for error in [not_found, refused, offline] {
        for told in [
            "maker/tested",
            MODEL.revision,
            "onnx/vision_model.onnx",
            "HF_ENDPOINT",
            "HF_HOME",
            "--model demo",
            "folder",
        ] {
            assert!(error.contains(told), "{told}: {error}");
        }
    }
}

#[test]
fn every_named_model_is_pinned_to_a_commit() {
    for model in HubModel::ALL {
        assert!(model.revision.len() == 40 && model.revision.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(model.sizes.iter().all(|&size| size > 1 << 20));
    }
}
