//! What a person sees while a run goes on: bars on a terminal, a line now and then elsewhere. Always standard error.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::{Limit, note, plain};
use terminal_size::{Width, terminal_size_of};

/// Off a terminal, a line is said this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Of a terminal that does not tell.
const USUAL_COLUMNS: usize = 80;

/// A bar that is shorter than what is left of so many columns shows nothing.
const LEAST_COLUMNS: usize = 60;

/// The bars that are on the terminal now.
static SHOWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// A line for the person from whoever does not know what is on the terminal.
pub fn aside(line: &str) {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Nobody may be there any more to read it.
    match shown {
        Some(bars) => drop(bars.println(plain(line))),
        None => note(line),
    }
}

fn show(bars: Option<MultiProgress>) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// A bar for each host and one for all.
pub struct View {
    bars: Option<Bars>,
    said: Cell<Instant>,
}

struct Bars {
    all: MultiProgress,
    style: ProgressStyle,
    /// Of the hosts that have work.
    hosts: Vec<Option<ProgressBar>>,
    total: ProgressBar,
}

impl View {
    /// Bars for hosts with their names and expected numbers of pictures.
    pub fn new(hosts: &[(String, u64)]) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let columns = terminal_size_of(std::io::stderr()).map_or(USUAL_COLUMNS, |(Width(w), _)| usize::from(w));
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let longest = hosts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            let width = longest.clamp(5, (columns / 4).clamp(5, 20));
            // What is left of a narrow terminal is for the numbers.
            let wide = columns >= LEAST_COLUMNS;
            let style = |colour: &str| {
                let bar = if wide { format!(" {{wide_bar:.{colour}}}") } else { String::new() };
                ProgressStyle::with_template(&format!("{{prefix:{width}!}}{bar} {{pos}}/{{len}} {{msg}}"))
                    .expect("the template is well formed")
                    .progress_chars("━╸─")
            };
            let bar = |name: &str, length: u64, colour: &str| {
                all.add(ProgressBar::new(length)).with_style(style(colour)).with_prefix(plain(name).into_owned())
            };
            show(Some(all.clone()));
            let hosts = hosts.iter().map(|(name, n)| (*n > 0).then(|| bar(name, *n, "blue"))).collect();
            Bars { hosts, total: bar("total", 0, "green"), style: style("blue"), all: all.clone() }
        });
        Self { bars, said: Cell::new(Instant::now()) }
    }

    /// A bar for one more host.
    pub fn add(&mut self, name: &str) {
        if let Some(bars) = &mut self.bars {
            let bar = ProgressBar::new(0).with_style(bars.style.clone()).with_prefix(plain(name).into_owned());
            bars.hosts.push(Some(bars.all.insert_before(&bars.total, bar)));
        }
    }

    /// Shows how far a host is, and what it waits for.
    pub fn host(&self, i: usize, done: u64, failed: u64, rate: Option<f64>, limit: Option<Limit>) {
        let Some(bar) = self.bars.as_ref().and_then(|b| b.hosts[i].as_ref()) else { return };
        if bar.length().is_none_or(|length| length < done) {
            bar.set_length(done);
        }
        bar.set_position(done);
        let rate = rate.map_or_else(|| "starting".into(), |r| format!("{r:.1}/s"));
        let limit = match limit {
            None => "",
            Some(Limit::Model) => " model",
            Some(Limit::Decoding) => " decoding",
            Some(Limit::Share) => " share",
        };
        let failed = if failed > 0 { format!(" {failed} failed") } else { String::new() };
        bar.set_message(format!("{rate}{limit}{failed}"));
    }

    /// Shows how far the run is.
    pub fn total(&self, done: u64, total: u64, failed: u64, rate: f64) {
        let left =
            if rate > 0.0 { Some(Duration::from_secs_f64((total - done.min(total)) as f64 / rate)) } else { None };
        if let Some(bars) = &self.bars {
            bars.total.set_length(total);
            bars.total.set_position(done.min(total));
            let left = left.map_or_else(String::new, |l| format!("{rate:.1}/s {:#} left", HumanDuration(l)));
            bars.total.set_message(left);
        } else if self.said.get().elapsed() > LINE_EVERY {
            self.said.set(Instant::now());
            let percent = 100.0 * done as f64 / total.max(1) as f64;
            let left = left.map_or_else(|| "not known yet".into(), |l| format!("{:.1}min", l.as_secs_f64() / 60.0));
            let failed = if failed > 0 { format!(" - {failed} failed") } else { String::new() };
            let (done, total) = (HumanCount(done), HumanCount(total));
            note!("Progress: {done}/{total} images ({percent:.1}%) - {rate:.1} img/s - ETA: {left}{failed}");
        }
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        match &self.bars {
            // A terminal that is gone is no reason to stop.
            Some(bars) => drop(bars.all.println(plain(line))),
            None => note(line),
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            drop(bars.all.clear());
            show(None);
        }
    }
}

/// A sign of life for work of unknown length. Gone when dropped.
pub struct Spinner(ProgressBar);

impl Spinner {
    /// Begins with a text.
    pub fn new(text: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(text);
        if std::io::stderr().is_terminal() {
            let all = MultiProgress::new();
            show(Some(all.clone()));
            let bar = all.add(bar.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self(bar)
    }

    /// Changes the text.
    pub fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        self.0.suspend(|| note(line));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        show(None);
    }
}
