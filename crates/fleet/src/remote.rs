//! How a program and its arguments reach a machine. No shell ever reads an argument as anything but data, and the
//! login shell there may be any (also fish or csh): ssh is given one fixed command line; all else travels on standard
//! input, in front of the program's own, once the shell has said that it listens. First the fixed text [`WRAPPER`] in
//! one line, then, as plain data, one value a line.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What the login shell reads, with a token for TOKEN. Within single quotes without backslash, `!` and line end, all
/// shells agree. What start-up files have left of the input is run only if it begins with the token, which no value can
/// know.
const COMMAND_LINE: &str = r#"exec sh -c 'echo TOKEN listens; IFS= read -r s; case $s in TOKEN*) eval "${s#TOKEN}";; *) echo TOKEN deaf;; esac'"#;

/// Goes to the home folder, where start-up files may have left it, reads the values, starts the program with them, and tells with its token when the program begins, that it is
/// missing, or how it ended: what came before the first is noise of start-up files, and an ssh that ends without the
/// last was cut off. `read` takes a byte at a time, so what follows is left for the program.
const WRAPPER: &str = r#" cd >/dev/null 2>&1; IFS= read -r t && IFS= read -r n || exit 125; set --; \
while [ "$n" -gt 0 ]; do IFS= read -r a || exit 125; \
case $a in *\\*) a=$(printf '%bx' "$a"); a=${a%x};; esac; set -- "$@" "$a"; n=$((n-1)); done; \
 log=$1 shown=$2; shift 2; \
 if [ -n "$log" ]; then case $log in */*) mkdir -p "${log%/*}/";; esac; if (: >>"$log") 2>/dev/null; then exec 2>>"$log"; fi; fi; \
 if [ -n "$shown" ] && [ -f "$log" ] && [ ! -d "$shown" ]; then ln -f "$log" "$shown.$$" && mv -f "$shown.$$" "$shown"; rm -f "$shown.$$"; fi; \
command -v "$1" >/dev/null 2>&1 && case $1 in */*) [ -x "$1" ];; esac || \
{ if [ -f "$1" ]; then echo "$t barred"; else echo "$t missing"; fi; exit 127; }; \
sh -c 'echo "$0 begin $$"; exec "$@"' "$t" "$@"; \
printf '\n%s ended %d\n' "$t" "$?""#;

/// One started program's mark, which no other output can hold by chance.
#[derive(Clone, Debug)]
pub(crate) struct Token(String);

/// Where a program's standard error goes on its machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log<'a> {
    /// It is appended to this file; empty: it comes here.
    pub file: &'a str,
    /// Another name of the file, which takes the place of what has it; empty: none.
    pub shown: &'a str,
}

/// What the wrapper tells before the program's own output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The shell waits for what it is to do.
    Listens,
    /// What it was sent did not come to it.
    Deaf,
    /// The program begins, with this process id.
    Begin(u32),
    /// It is not there.
    Missing,
    /// It is there, but may not be started.
    Barred,
}

impl Token {
    pub fn new() -> Self {
        // Each RandomState has its own random keys.
        Self(format!("imagefleet-{:016x}", RandomState::new().build_hasher().finish()))
    }

    /// What ssh is given to be run there.
    pub fn command_line(&self) -> String {
        COMMAND_LINE.replace("TOKEN", &self.0)
    }

    /// What goes to standard input in front of the program's own. `None` if a value holds a NUL, which no argument can.
    pub fn header(&self, program: &str, args: &[OsString], log: Log<'_>) -> Option<Vec<u8>> {
        let first = [OsStr::new(log.file), OsStr::new(log.shown), OsStr::new(program)];
        let values = first.into_iter().chain(args.iter().map(OsString::as_os_str));
        let mut header =
            format!("{1}{0}\n{1}\n{2}\n", WRAPPER.replace("\\\n", ""), self.0, args.len() + 3).into_bytes();
        for value in values {
            for &byte in value.as_bytes() {
                match byte {
                    0 => return None,
                    // As printf's %b takes them.
                    b'\\' => header.extend(b"\\0134"),
                    b'\n' => header.extend(b"\\0012"),
                    _ => header.push(byte),
                }
            }
            header.push(b'\n');
        }
        Some(header)
    }

    /// Whether a line is the wrapper's first.
    pub fn beginning(&self, line: &[u8]) -> Option<Beginning> {
        // Noise may stand before it in the line.
        let line = String::from_utf8_lossy(line);
        let (_, told) = line.split_once(&self.0)?;
        match told.trim().split_once(' ') {
            Some(("begin", pid)) => pid.parse().ok().map(Beginning::Begin),
            _ => match told.trim() {
                "listens" => Some(Beginning::Listens),
                "deaf" => Some(Beginning::Deaf),
                "missing" => Some(Beginning::Missing),
                "barred" => Some(Beginning::Barred),
                _ => None,
            },
        }
    }

    /// How the program ended, if a line (without its line end) is the wrapper's last.
    pub fn end_line(&self, line: &[u8]) -> Option<ExitStatus> {
        let told = line.strip_prefix(self.0.as_bytes())?.strip_prefix(b" ended ")?;
        std::str::from_utf8(told).ok()?.parse().ok().map(status)
    }

    /// How the program ended, and how long its output is, if `output` ends with the wrapper's last line.
    pub fn end(&self, output: &[u8]) -> Option<(usize, ExitStatus)> {
        let lines = output.strip_suffix(b"\n")?;
        let before = lines.iter().rposition(|&b| b == b'\n')?;
        Some((before, self.end_line(&lines[before + 1..])?))
    }
}

/// A shell tells a signal as 128 and its number. 130 is not read so: it is what our programs return when interrupted.
fn status(code: i32) -> ExitStatus {
    match code {
        129 | 131..=192 => ExitStatus::from_raw(code - 128),
        _ => ExitStatus::from_raw((code & 0xff) << 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_means_the_same_to_every_shell() {
        let line = Token::new().command_line();
        let (_, quoted) = line.split_once('\'').unwrap();
        let quoted = quoted.strip_suffix('\'').unwrap();
        assert!(!quoted.contains(['\'', '\\', '!', '\n']), "{quoted}");
    }

    #[test]
    fn values_stand_in_one_line_each() {
        let token = Token::new();
        let log = Log { file: "/w/log", shown: "" };
        let header = token.header("/w/a b", &["x\ny\\n".into(), "".into()], log).unwrap();
        let header = String::from_utf8(header).unwrap();
        let lines: Vec<_> = header.lines().collect();
        assert_eq!(lines[1..], [&token.0, "5", "/w/log", "", "/w/a b", "x\\0012y\\0134n", ""]);
        assert!(token.header("a", &["b\0".into()], Log::default()).is_none());
    }

    #[test]
    fn the_end_is_told_apart_from_the_output() {
        let token = Token::new();
        let output = format!("data\n{} ended 137\n", token.0);
        let (length, status) = token.end(output.as_bytes()).unwrap();
        assert_eq!((length, status.signal(), status.code()), (4, Some(9), None));
        assert!(token.end(b"data\nimagefleet-0 ended 0\n").is_none());
        assert!(token.end(&output.as_bytes()[..output.len() - 1]).is_none());
        assert_eq!(token.end_line(format!("{} ended 130", token.0).as_bytes()).unwrap().code(), Some(130));
        assert_eq!(token.beginning(format!("motd{} begin 7\n", token.0).as_bytes()), Some(Beginning::Begin(7)));
    }
}
