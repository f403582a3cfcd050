//! A diagnosis as text that fits a terminal. Host names, hosts lines and paths are never cut: a person copies them.

use console::{StyledObject, measure_text_width, style};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use protocol::plain;
use protocol::setup::{HostReport, Measured};
use terminal_size::{Width, terminal_size_of};

use super::{Diagnosis, Patient, advice, span, weights};

/// Of what is no terminal, or one that does not tell.
const USUAL_COLUMNS: usize = 80;

/// Behind a host's name: their headings, right-aligned.
const HEADINGS: [(&str, usize); 5] = [("images/s", 9), ("weight", 7), ("MB/s", 7), ("ms", 7), ("clock", 8)];

/// Columns of standard output: `COLUMNS`, else what the terminal says.
pub fn columns() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let told = || terminal_size_of(std::io::stdout()).map(|(Width(width), _)| usize::from(width));
    set.or_else(told).unwrap_or(USUAL_COLUMNS)
}

/// The whole text, for so many columns.
pub fn text(diagnosis: &Diagnosis, width: usize) -> String {
    let mut page = Page { text: String::new(), width };
    let names =
        diagnosis.hosts.iter().map(|host| measure_text_width(&plain(&host.host))).max().unwrap_or(0).max("host".len());
    let numbers: usize = HEADINGS.iter().map(|(_, width)| width).sum();
    // A name that leaves no room for the numbers has a line of its own.
    let beside = names + numbers <= width;
    let first = if beside { names } else { 0 };
    let headings: String = HEADINGS.iter().map(|(name, width)| format!("{name:>width$}")).collect();
    page.line(style(format!("{:first$}{headings}", if beside { "host" } else { "" })).dim());
    for host in &diagnosis.hosts {
        let name = format!("{:first$}", plain(&host.host));
        let name = if host.ready { style(name).bold() } else { style(name).red().bold() };
        match (numbers_of(host), beside) {
            (Some(numbers), true) => page.line(format!("{name}{numbers}")),
            (Some(numbers), false) => page.line(format!("{name}\n{numbers}")),
            (None, _) => page.line(name),
        }
        if let Some((report, measured)) = host.report.as_ref().and_then(|r| Some((r, r.measured.as_ref()?))) {
            details(report, measured).iter().for_each(|detail| page.words("  ", detail, StyledObject::dim));
        }
        host.notes.iter().for_each(|note| page.words("  ", &format!("note: {note}"), StyledObject::yellow));
        host.problems.iter().for_each(|problem| page.words("  ", &format!("problem: {problem}"), StyledObject::red));
    }
    page.line("");
    let ready = diagnosis.hosts.iter().filter(|host| host.ready).count();
    page.words(
        "",
        &format!("{ready} of {} hosts are ready.{}", diagnosis.hosts.len(), measured_with(diagnosis)),
        |o| o,
    );
    diagnosis.notes.iter().for_each(|note| page.words("", &format!("note: {note}"), StyledObject::yellow));
    if diagnosis.hosts.iter().any(|host| host.weight.is_some()) {
        page.line("\nFor the hosts file, by images/s:\n");
        diagnosis.suggested_lines.iter().for_each(|line| page.line(plain(line)));
    }
    if let Some(forecast) = forecast(diagnosis) {
        page.line("");
        page.words("", &forecast, |o| o);
    }
    page.text
}

/// Lines as they come together.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn line(&mut self, line: impl std::fmt::Display) {
        self.text += &format!("{line}\n");
    }

    /// Words in as many lines as they need, all indented, each in this look.
    fn words(&mut self, indent: &str, text: &str, look: fn(StyledObject<String>) -> StyledObject<String>) {
        let mut line = String::new();
        for word in text.split_whitespace().map(plain) {
            let together = indent.len() + measure_text_width(&line) + 1 + measure_text_width(&word);
            if !line.is_empty() && together > self.width {
                let full = std::mem::take(&mut line);
                self.line(format!("{indent}{}", look(style(full))));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += &word;
        }
        self.line(format!("{indent}{}", look(style(line))));
    }
}

/// A host's numbers under their headings; none of one that could not be asked.
fn numbers_of(host: &Patient) -> Option<String> {
    let measured = host.report.as_ref()?.measured.as_ref()?;
    let speed = measured.images.or(measured.index);
    let or_none = |number: Option<String>| number.unwrap_or_else(|| "-".into());
    let numbers = [
        or_none(host.rate().map(|rate| format!("{rate:.1}"))),
        or_none(host.weight.map(weights::word)),
        or_none(speed.map(|speed| format!("{:.1}", speed.read_bytes_per_second / 1e6))),
        or_none(speed.map(|speed| format!("{:.2}", speed.operation_ms))),
        or_none(host.clock_off_seconds.map(|off| if off == 0.0 { "right".into() } else { format!("{off:+.1} s") })),
    ];
    Some(numbers.iter().zip(HEADINGS).map(|(number, (_, width))| format!("{number:>width$}")).collect())
}

/// What stands below a host's numbers.
fn details(report: &HostReport, measured: &Measured) -> Vec<String> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let cpu = some(measured.cpu_model.clone()).unwrap_or_else(|| "processor".into());
    let has = [some(report.cpu_level.clone()), some(measured.cpu_features.join(" "))].into_iter().flatten();
    let has = std::iter::once(format!("{cpu}: {} threads", report.host.cpus)).chain(has).collect::<Vec<_>>().join(", ");
    let of = measured.group_bytes.and(measured.machine_bytes);
    let of = of.map_or_else(String::new, |all| format!(" (its control group's, of {})", HumanBytes(all)));
    let worker = measured.worker_bytes.map_or_else(String::new, |b| format!(", up to {} for a worker", HumanBytes(b)));
    let index_free = measured.index_free_bytes;
    let index_free = index_free.map_or_else(String::new, |b| format!(", {} in the index folder", HumanBytes(b)));
    let mut details = vec![
        has,
        format!("memory {}{of}{worker}", HumanBytes(report.host.memory_bytes)),
        format!("free {} in its work folder{index_free}", HumanBytes(report.free_bytes)),
    ];
    details.extend(measured.index.map(|index| {
        let written = index.write_bytes_per_second.unwrap_or(0.0) / 1e6;
        let read = index.read_bytes_per_second / 1e6;
        format!(
            "index folder: writes {written:.1} MB/s, reads {read:.1} MB/s, {:.2} ms an operation",
            index.operation_ms
        )
    }));
    if let Some(trial) = &measured.trial {
        let deviation = trial.model.deviation.map_or_else(String::new, |d| format!(", deviation {d:.4}"));
        details.push(format!(
            "{} on {} {}{deviation}, {} pictures at once, loaded in {:.1} s",
            trial.model.model_name, trial.model.provider, trial.model.precision, trial.batch_size, trial.load_seconds
        ));
        details.extend(some(advice::of(trial, measured.images)));
    }
    details
}

/// What the numbers are of.
fn measured_with(diagnosis: &Diagnosis) -> String {
    let measured: Vec<&Measured> =
        diagnosis.hosts.iter().filter_map(|host| host.report.as_ref()?.measured.as_ref()).collect();
    let on_own = measured.iter().filter_map(|m| m.trial.as_ref()).map(|trial| trial.own_pictures).min();
    let images = match on_own {
        Some(true) => " images/s are on pictures of the folder.",
        Some(false) => " images/s are on small built-in pictures; --image-dir DIR takes your own.",
        None => "",
    };
    let share = match measured.iter().filter_map(|m| m.images.or(m.index).map(|_| m.images.is_some())).min() {
        Some(true) => " MB/s and ms are of reading them.",
        Some(false) => " MB/s and ms are of a file in the index folder.",
        None => "",
    };
    format!("{images}{share}")
}

/// When a run would end.
fn forecast(diagnosis: &Diagnosis) -> Option<String> {
    let (to_do, forecast) = (diagnosis.to_do.as_ref()?, diagnosis.forecast?);
    let images = HumanCount(to_do.images);
    if to_do.images == 0 && !to_do.at_least {
        return Some(format!("Nothing is to be embedded ({}).", to_do.basis));
    }
    let at_least = if to_do.at_least { "at least " } else { "" };
    let end = diagnosis.end.as_deref().and_then(|end| chrono::DateTime::parse_from_rfc3339(end).ok());
    let end = end.map_or_else(String::new, |end| format!(", until {}", end.format("%Y-%m-%d %H:%M")));
    let machines = format!("The hosts embed {:.1} images/s together", forecast.images_per_second);
    let share = forecast.share_bytes_per_second.zip(forecast.share_images_per_second);
    let share = share.map_or_else(String::new, |(bytes, images)| {
        let (only, advice) =
            if forecast.limited_by_share() { (" only", ": more machines will not help") } else { ("", "") };
        format!(
            "; the share gave all of them at once{only} {:.1} MB/s, which is {images:.1} images/s{advice}",
            bytes / 1e6
        )
    });
    Some(format!(
        "Embedding {at_least}{images} pictures ({}) would take {at_least}{:#}{end}. {machines}{share}. Scan and merge come on \
         top.",
        to_do.basis,
        HumanDuration(span(forecast.seconds))
    ))
}

#[cfg(test)]
mod tests {
    use super::super::forecast::{Forecast, ToDo};
    use super::*;
    use serde_json::json;

    fn patient(host: &str, problems: &[&str]) -> Patient {
        let speed = json!({"operation_ms": 0.42, "read_bytes_per_second": 112.3e6, "write_bytes_per_second": 88e6});
        let trial = json!({"model_name": "clip-vit-b-32", "fingerprint": "f", "embedding_dim": 512, "precision": "bf16",
            "provider": "openvino", "deviation": 0.0201, "threads": 2, "batch_size": 8, "load_seconds": 1.4,
            "images_per_second": 68.9, "own_pictures": true, "stages": protocol::Stages::default()});
        let measured = json!({"cpu_model": "Intel(R) Xeon(R) CPU E5-1650 v4 @ 3.60GHz", "cpu_features": ["avx2", "fma"],
            "machine_bytes": 25e9 as u64, "group_bytes": 15e9 as u64, "worker_bytes": 9e9 as u64,
            "index_free_bytes": 1e12 as u64, "pictures": null, "images": speed, "index": speed, "trial": trial,
            "notes": ["the model runs on cpu fp32,\nwhich is slower than could be: \u{1b}[2J"]});
        let report = json!({"version": "0", "host": {"hostname": host, "cpus": 12, "memory_bytes": 15e9 as u64},
            "unix_ms": 0, "cpu_level": "x86-64-v3", "share_ms": 0.1, "free_bytes": 35e9 as u64, "problems": [],
            "images_per_second": null, "measured": measured});
        let report: HostReport = serde_json::from_value(report).unwrap();
        Patient {
            host: host.into(),
            ready: problems.is_empty(),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            notes: report.measured.as_ref().unwrap().notes.clone(),
            weight: Some(0.5),
            clock_off_seconds: Some(-7.25),
            report: Some(report),
        }
    }

    fn diagnosis() -> Diagnosis {
        let mut away = patient("duc18", &["it refuses the connection; is sshd running there, and is the port right?"]);
        (away.report, away.weight, away.notes) = (None, None, Vec::new());
        Diagnosis {
            hosts: vec![patient("duc212-100g.eng.example.com", &[]), away],
            suggested_lines: vec!["duc212-100g.eng.example.com weight=1.00".into(), "# duc18 weight=0.50".into()],
            to_do: Some(ToDo {
                images: 1_234_567,
                at_least: false,
                basis: "as run r1 found them, without the 30 that it embedded".into(),
            }),
            forecast: Some(Forecast {
                images_per_second: 68.9,
                share_bytes_per_second: Some(50e6),
                share_images_per_second: Some(31.2),
                seconds: 39_570.0,
            }),
            end: Some("2026-01-31T18:40:00+01:00".into()),
            notes: vec![
                "controller (process 1 on mac) is working on this index: everything is faster without it".into(),
            ],
        }
    }

    #[test]
    fn the_text_fits_the_terminal_and_holds_it_all() {
        console::set_colors_enabled(false);
        for width in [40, 80, 200] {
            let text = text(&diagnosis(), width);
            let wide: Vec<&str> = text.lines().filter(|line| measure_text_width(line) > width).collect();
            assert!(
                wide.iter().all(|line| diagnosis().suggested_lines.iter().any(|l| l == line)),
                "{width}: {wide:#?}"
            );
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for told in [
                "duc212-100g.eng.example.com 68.9 0.50 112.3 0.42 -7.2 s Intel(R)",
                "12 threads, x86-64-v3, avx2 fma",
                "memory 13.97 GiB (its control group's, of 23.28 GiB), up to 8.38 GiB for a worker",
                "clip-vit-b-32 on openvino bf16, deviation 0.0201, 8 pictures at once, loaded in 1.4 s",
                "note: the model runs on cpu fp32, which is slower than could be",
                "duc18 problem: it refuses the connection;",
                "1 of 2 hosts are ready.",
                "Embedding 1,234,567 pictures (as run r1 found them, without the 30 that it embedded) would",
                "would take 11h, until 2026-01-31 18:40. The hosts embed 68.9 images/s together;",
                "only 50.0 MB/s, which is 31.2 images/s: more machines will not help",
            ] {
                assert!(words.contains(told), "{told:?} is not in: {words}");
            }
        }
    }

    #[test]
    fn nothing_to_do_is_said_and_more_than_was_counted_too() {
        let mut diagnosis = diagnosis();
        let mut told = |images, at_least| {
            diagnosis.to_do = Some(ToDo { images, at_least, basis: "counted now".into() });
            forecast(&diagnosis).unwrap()
        };
        assert_eq!(told(0, false), "Nothing is to be embedded (counted now).");
        assert!(told(7, true).starts_with("Embedding at least 7 pictures (counted now) would take at least 11h"));
    }
}
