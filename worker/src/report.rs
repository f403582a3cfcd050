//! What a worker says, and to whom: JSON events to a controller, or log lines to a person. Both also go as lines to
//! the worker's log file.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crossbeam_channel::Sender;
use disk::Folder;
use disk::atomic::{folder_of, name_in};
use protocol::{Event, Stages, answer, encode_line, note, plain};

/// Where to report.
pub struct Report {
    to: To,
    /// `Worker 0` or `Scan`.
    who: String,
    log: Option<Mutex<File>>,
    begun: Mutex<Instant>,
}

enum To {
    /// A controller, on standard output.
    Controller,
    /// A person, on standard error.
    Person,
    /// Another thread of this process.
    Thread(Sender<Event>),
}

impl Report {
    /// Reports as JSON lines on standard output (`events`), or as lines on standard error.
    pub fn new(events: bool, who: String) -> Self {
        Self::to(if events { To::Controller } else { To::Person }, who)
    }

    /// Tells another thread what a controller would be told; that it no longer listens is no fault.
    pub fn to_thread(listener: Sender<Event>) -> Self {
        Self::to(To::Thread(listener), String::new())
    }

    fn to(to: To, who: String) -> Self {
        Self { to, who, log: None, begun: Mutex::new(Instant::now()) }
    }

    /// Also appends lines to a file. A file that cannot be opened is a warning, not an end: pictures matter more.
    pub fn also_to(mut self, path: &Path) -> Self {
        let opened = Folder::make(folder_of(path)).and_then(|folder| folder.append(name_in(path)?));
        match opened {
            Ok(file) => self.log = Some(Mutex::new(file)),
            Err(disk::Error { source, .. }) => {
                self.event(&Event::Warning { message: format!("no log file {}: {source}", path.display()) });
            }
        }
        self
    }

    /// Also writes lines to standard error, which whoever started this program appends to its log.
    pub fn also_to_standard_error(mut self) -> Self {
        // Without it there is only no log.
        self.log = std::io::stderr().as_fd().try_clone_to_owned().ok().map(|log| Mutex::new(File::from(log)));
        self
    }

    /// Tells one event.
    pub fn event(&self, event: &Event) {
        match &self.to {
            // A controller that is gone closes standard input too, which ends the worker in an orderly way.
            To::Controller => drop(answer(&encode_line(event))),
            To::Person => {}
            To::Thread(listener) => drop(listener.send(event.clone())),
        }
        if let Some(text) = words(event) {
            self.line(&text);
        }
    }

    /// Tells how far a worker is: `done` of `total` pictures since it began.
    pub fn progress(&self, done: u64, failed: u64, total: u64, stages: Stages, spoken: bool) {
        if !matches!(self.to, To::Person) {
            self.event(&Event::Progress { done, failed, stages });
        }
        if spoken {
            let seconds = self.begun.lock().expect("reading the clock does not panic").elapsed().as_secs_f64();
            self.line(&progress_words(done, total, seconds));
        }
    }

    /// The clock of [`Report::progress`] begins now, as when the model is loaded.
    pub fn begin(&self) {
        *self.begun.lock().expect("reading the clock does not panic") = Instant::now();
    }

    fn line(&self, text: &str) {
        let line = format!("[{}] [{}] {}", chrono::Local::now().format("%Y-%m-%d %H:%M:%S"), self.who, plain(text));
        if let Some(log) = &self.log {
            // A full disk must not stop the work that it is not needed for.
            let _ = log.lock().expect("writing a line does not panic").write_all(format!("{line}\n").as_bytes());
        }
        if matches!(self.to, To::Person) {
            note(&line);
        }
    }
}

fn progress_words(done: u64, total: u64, seconds: f64) -> String {
    let rate = done as f64 / seconds.max(1e-9);
    let eta = if rate > 0.0 { (total - done.min(total)) as f64 / rate / 60.0 } else { 0.0 };
    let percent = 100.0 * done as f64 / total.max(1) as f64;
    format!("Progress: {done}/{total} images ({percent:.1}%) - {rate:.1} img/s - ETA: {eta:.1}min")
}

/// An event as a person reads it; `None` for what would only be noise.
fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Ready { model, threads, batch_size, load_seconds } => format!(
            "Model {} ready in {load_seconds:.1} s: {} {}, {threads} threads, batches of {batch_size}, deviation {:.4}",
            model.model_name,
            model.provider,
            model.precision,
            model.deviation.unwrap_or_default()
        ),
        Event::Scanning { scanned } => format!("Scanned {scanned} images so far"),
        Event::Scanned { summary: s, .. } => format!(
            "Scanned {} images: {} to embed, {} already indexed ({} moved), {} gone, {} failed",
            s.scanned, s.new, s.standing, s.moved, s.gone, s.failed
        ),
        Event::Failure { failure: f } => format!("Failed: {}: {}: {}", f.path, f.kind, f.detail),
        Event::Warning { message } => format!("Warning: {message}"),
        Event::Done { rows, failed } => format!("Done: {rows} images embedded, {failed} failed"),
        Event::Error { message } => format!("Error: {message}"),
        Event::Hello { .. }
        | Event::Chunk { .. }
        | Event::Progress { .. }
        | Event::Part { .. }
        | Event::Trying { .. } => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_as_people_know_it() {
        assert_eq!(progress_words(100, 500, 9.5238), "Progress: 100/500 images (20.0%) - 10.5 img/s - ETA: 0.6min");
        assert_eq!(progress_words(0, 0, 0.0), "Progress: 0/0 images (0.0%) - 0.0 img/s - ETA: 0.0min");
    }
}
