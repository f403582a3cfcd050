//! Text on its way to a person. Names of pictures, what hosts say and errors may hold anything, so nothing reaches a
//! terminal or a log but through here, where it cannot steer the one or forge a line in the other. Nor does it matter
//! whether anybody still reads: a run is never lost for its messages.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Mutex;

use serde::Serialize;

/// What writing to a terminal that is gone gives, on Linux and on macOS.
const EIO: i32 = 5;

/// The first reason why a line of [`tell`] is missing from standard output.
static MISSING: Mutex<Option<io::Error>> = Mutex::new(None);

/// One line of text with what could steer a terminal or break the line made visible: control characters, line
/// separators, and what turns the direction of writing, as `\n`, `\u{1b}` or `\u{202e}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let escape = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value as JSON in one line, without the line's end: the exact value, also where [`plain`] would show another.
///
/// # Panics
/// If the value cannot be JSON, as a map whose keys are no texts.
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("what our types hold can be JSON");
    if !text.contains(steers) {
        return text;
    }
    let escape = |c: char| if steers(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// What another program said, in one line.
pub fn joined(said: &str) -> String {
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" | ")
}

/// Says a line on standard error, where progress, warnings and errors go.
pub fn note(line: &str) {
    // Whoever closed it does not want to know, and a full disk takes no more.
    let _ = stderr().lock().write_all(format!("{}\n", plain(line)).as_bytes());
}

/// Tells a line of a result on standard output. That it could not be written is told by [`told`].
pub fn tell(line: &str) {
    if let Err(error) = answer(&format!("{}\n", plain(line))) {
        MISSING.lock().expect("nothing panics while it is held").get_or_insert(error);
    }
}

/// Whether all lines of [`tell`] were written, as far as somebody wanted them.
///
/// # Errors
/// The first error, as of a full disk.
pub fn told() -> io::Result<()> {
    MISSING.lock().expect("nothing panics while it is held").take().map_or(Ok(()), Err)
}

/// Writes a text to standard output as it stands. A reader that has seen enough (`| head`), or a terminal that is gone,
/// is no error.
///
/// # Errors
/// As of a full disk: what was asked for is lost.
pub fn answer(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) if error.raw_os_error() == Some(EIO) && is_device(&out) => Ok(()),
        written => written,
    }
}

/// Whether it is a terminal, if need be one that is gone; no disk.
fn is_device(out: &impl AsFd) -> bool {
    let file = out.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|facts| facts.file_type().is_char_device())
}

/// [`note`](fn@crate::note) with arguments, as `println!` takes them.
#[macro_export]
macro_rules! note {
    ($($words:tt)*) => { $crate::note(&::std::format!($($words)*)) };
}

/// [`tell`](fn@crate::tell) with arguments, as `println!` takes them.
#[macro_export]
macro_rules! tell {
    ($($words:tt)*) => { $crate::tell(&::std::format!($($words)*)) };
}

/// An error that takes several lines: what failed, and what each of several has to say about it.
#[derive(Debug, Clone)]
pub struct Lines {
    what: String,
    each: Vec<String>,
}

impl Lines {
    /// `what` without a colon at its end.
    pub fn new(what: impl Into<String>, each: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { what: what.into(), each: each.into_iter().map(Into::into).collect() }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.each.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.what, self.each.join(" | "))
    }
}

impl Error for Lines {}

/// Tells an error once on standard error: what failed, then cause by cause.
pub fn tell_error<'a>(chain: impl Iterator<Item = &'a (dyn Error + 'static)>) {
    let _ = stderr().lock().write_all(error_text(chain).as_bytes());
}

fn error_text<'a>(chain: impl Iterator<Item = &'a (dyn Error + 'static)>) -> String {
    let mut text = String::new();
    for (depth, cause) in chain.enumerate() {
        text += if depth == 0 { "error: " } else { "  because " };
        match cause.downcast_ref::<Lines>().filter(|lines| !lines.each.is_empty()) {
            None => text += &format!("{}\n", plain(&cause.to_string())),
            Some(lines) => {
                text += &format!("{}:\n", plain(&lines.what));
                lines.each.iter().for_each(|line| text += &format!("    {}\n", plain(line)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const HOSTILE: &str = "a\x1b]0;x\x07\r\n\t\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}é写.jpg";

    #[test]
    fn what_steers_a_terminal_is_made_visible_and_nothing_else() {
        assert_eq!(plain(HOSTILE), r"a\u{1b}]0;x\u{7}\r\n\t\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}é写.jpg");
        let usual = "$(touch x) %s \"'\\ 👨‍👩‍👧 e\u{301}";
        assert!(matches!(plain(usual), Cow::Borrowed(same) if same == usual));
    }

    #[test]
    fn json_is_one_plain_line_and_exact() {
        let line = json(&[HOSTILE]);
        assert_eq!(plain(&line), line);
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap()[0], HOSTILE);
    }

    #[test]
    fn an_error_has_the_lines_that_we_gave_it_and_no_more() {
        let causes: [&(dyn Error + 'static); 2] =
            [&io::Error::other("cannot open a\n  because b"), &Lines::new("no host", ["a: x\ny", "b: z"])];
        let text = error_text(causes.into_iter());
        assert_eq!(text, "error: cannot open a\\n  because b\n  because no host:\n    a: x\\ny\n    b: z\n");
        let bare = Lines::new("nothing", iter::empty::<String>());
        assert_eq!(error_text(iter::once(&bare as &(dyn Error + 'static))), "error: nothing\n");
        assert_eq!(causes[1].to_string(), "no host: a: x\ny | b: z");
    }

    #[test]
    fn what_another_program_said_becomes_one_line() {
        assert_eq!(joined("\r\n  Welcome!\r\n\n no such file\n"), "Welcome! | no such file");
    }
}
