//! A thousand damaged hosts files: each is read as what it may still be, or is an error that names file and line.

use std::path::Path;

use damage::{COPIES, Numbers, contained};
use fleet::Hosts;

const HOSTS: &str = "\
*       user=root work_dir=/root/w path_map=/Volumes/home:/mnt/home # defaults
duc212  weight=0.20 batch_size=8  ram_gb=15 port=22
duc17   weight=0.40 batch_size=32 ram_gb=62 query=yes threads=4
'duc 18' weight=1e-3 identity_file=\"/a b/key\" ssh_config=/c
";

/// Values at the limits of what they may be.
const VALUES: [&str; 16] = [
    "0",
    "-1",
    "1e308",
    "1e-308",
    "NaN",
    "inf",
    "18446744073709551616",
    "65535",
    "4096",
    "''",
    "\"",
    "yes",
    "/:/",
    "//x:/",
    "#",
    "=",
];

fn damaged(numbers: &mut Numbers) -> String {
    let mut text = HOSTS.to_owned();
    for _ in 0..numbers.below(4) {
        let values: Vec<usize> = text.match_indices('=').map(|(at, _)| at + 1).collect();
        let Some(&at) = values.get(numbers.below(values.len())) else { break };
        let end = at + text[at..].find([' ', '\n']).unwrap_or(0);
        text.replace_range(at..end, VALUES[numbers.below(VALUES.len())]);
    }
    match numbers.below(2) {
        0 => text,
        _ => String::from_utf8_lossy(&damage::bytes(text.as_bytes(), numbers)).into_owned(),
    }
}

#[test]
fn damaged_hosts_files_name_file_and_line() {
    contained(damaged_hosts_files_name_file_and_line, || {
        let mut numbers = Numbers::new(1);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..2 * COPIES {
            let text = damaged(&mut numbers);
            match Hosts::parse(&text, Path::new("the/hosts")) {
                Ok(hosts) => {
                    read += 1;
                    let sum: f64 = hosts.hosts.iter().map(|host| host.weight).sum();
                    assert!((sum - 1.0).abs() < 1e-9, "weights sum to {sum} in {text:?}");
                    for host in &hosts.hosts {
                        assert!(host.weight > 0.0 && !host.name.is_empty(), "{host:?} in {text:?}");
                        assert!(!host.name.starts_with('-'), "{host:?}");
                        host.path_there("/Volumes/home/x");
                    }
                    hosts.query_host(None).unwrap();
                }
                Err(error) => {
                    refused += 1;
                    let named = error.to_string();
                    assert!(named.starts_with("the/hosts:"), "{named}");
                }
            }
        }
        assert!(read > 100 && refused > 100, "{read} {refused}");
    });
}
