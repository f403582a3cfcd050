//! A question as a person writes it: words and pictures with `+` and `-` between them and weights before them, as in
//! rclip: `horse + 2:stripes - ./grass.jpg`. What could be meant in two ways is refused, never guessed.

use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use protocol::folders::expand_home;
use protocol::is_picture;
use protocol::search::MAX_TERMS;

use crate::WrongUsage;

/// A line of questions is never longer.
const LONGEST_LINE: usize = 64 << 10;
/// A file holds no more questions.
const MOST_QUESTIONS: usize = 10_000;

/// One summand.
#[derive(Clone, Debug, PartialEq)]
pub struct Summand {
    /// Negative takes away.
    pub weight: f32,
    pub of: Of,
}

/// A question of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// `questions.txt:3`
    pub place: String,
    pub text: String,
    pub sum: Vec<Summand>,
}

/// What a summand is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    Words(String),
    /// A picture's path as it is here.
    Picture(PathBuf),
    /// A picture's path as it stands in the index.
    Found(String),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Picture(path) => path.display().fmt(f),
            Self::Found(path) => f.write_str(path),
        }
    }
}

impl Summand {
    pub fn plain(of: Of) -> Self {
        Self { weight: 1.0, of }
    }
}

type Parsed<T> = Result<T, WrongUsage>;

fn wrong<T>(what: impl Into<String>) -> Parsed<T> {
    Err(WrongUsage(what.into()))
}

/// The summands of words as they stand on the command line. Neighbours without a sign between them are one text.
pub fn parse(words: &[String]) -> Parsed<Vec<Summand>> {
    let mut summands = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let sign = sign(&words[at]);
        at += usize::from(sign.is_some());
        let end = words[at..].iter().position(|w| self::sign(w).is_some()).map_or(words.len(), |n| at + n);
        if at == end {
            let sign = &words[at - 1];
            return wrong(format!("nothing stands behind {sign}; for the sign itself: --text={sign}"));
        }
        let Summand { weight, of } = summand(&words[at..end])?;
        summands.push(Summand { weight: sign.unwrap_or(1.0) * weight, of });
        at = end;
    }
    if summands.len() > MAX_TERMS {
        return wrong(format!("the sum has {} terms; at most {MAX_TERMS} are added up", summands.len()));
    }
    Ok(summands)
}

/// The words of a line: separated by blanks; double quotes at the beginning of a word, or behind its weight, keep
/// blanks. An apostrophe is one.
pub fn split(line: &str) -> Parsed<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let quoted = weighted(rest).map_or(rest, |(_, behind)| behind);
        let before = rest.len() - quoted.len();
        let (word, length) = match quoted.strip_prefix('"') {
            Some(inside) => {
                let Some(end) = inside.find('"') else { return wrong(format!("a quote is not closed: {rest}")) };
                (format!("{}{}", &rest[..before], &inside[..end]), before + end + 2)
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), end)
            }
        };
        words.push(word);
        let behind = &rest[length..];
        if !behind.is_empty() && !behind.starts_with(char::is_whitespace) {
            return wrong(format!("a blank is missing behind the quote: {behind}"));
        }
        rest = behind.trim_start();
    }
    Ok(words)
}

/// The questions of a list, one a line. Empty lines are left out; `name` is told in errors.
pub fn list(name: &str, input: impl BufRead) -> anyhow::Result<Vec<Listed>> {
    let mut questions = Vec::new();
    for (line, number) in protocol::lines(input, LONGEST_LINE).zip(1..) {
        let place = format!("{name}:{number}");
        let at = |what: &str| WrongUsage(format!("{place}: {what}"));
        let line = String::from_utf8(line.map_err(|e| at(&e.to_string()))?).map_err(|_| at("it is not UTF-8"))?;
        // Editors of other systems put a byte-order mark in front.
        let line = line.trim_start_matches("\u{feff}").trim();
        if line.is_empty() {
            continue;
        }
        if questions.len() == MOST_QUESTIONS {
            return Err(at(&format!("more than {MOST_QUESTIONS} questions; ask in several files")).into());
        }
        let sum = split(line).and_then(|words| parse(&words)).map_err(|e| at(&e.0))?;
        questions.push(Listed { text: line.to_owned(), sum, place });
    }
    if questions.is_empty() {
        return Err(WrongUsage(format!("{name} holds no question; write one a line")).into());
    }
    Ok(questions)
}

fn sign(word: &str) -> Option<f32> {
    match word {
        "+" => Some(1.0),
        "-" => Some(-1.0),
        _ => None,
    }
}

/// One summand, without its sign.
fn summand(words: &[String]) -> Parsed<Summand> {
    if let [word] = words {
        return single(word);
    }
    for (word, place) in words.iter().zip(0..) {
        let apart = word.contains(char::is_whitespace) || picture(word)?.is_some();
        let attached = word.len() > 1 && word.starts_with(['+', '-']);
        if apart || place > 0 && (attached || weighted(word).is_some()) {
            let next = words.get(place + 1).map_or_else(|| (&words[place - 1], word), |next| (word, next));
            return wrong(format!(
                "is there a + or a - between {:?} and {:?}? Put it between them, with blanks around it; for one text put \
                 all its words into quotes",
                next.0, next.1
            ));
        }
    }
    single(&words.join(" "))
}

fn single(text: &str) -> Parsed<Summand> {
    if let Some(path) = picture(text)? {
        return Ok(Summand::plain(Of::Picture(path)));
    }
    let (weight, what) = weighted(text).unwrap_or((1.0, text));
    if what.trim().is_empty() {
        return wrong("the text is empty: say what the pictures should show");
    }
    if what.len() < text.len() && what.starts_with(|c: char| c.is_ascii_digit()) {
        return wrong(format!("is {text:?} a text or a weight and a text? For the text: --text={text:?}"));
    }
    if !(weight.is_finite() && weight > 0.0) {
        return wrong(format!("the weight of {text:?} must be above 0; to take away, write - before it"));
    }
    if let Some(path) = picture(what)? {
        return Ok(Summand { weight, of: Of::Picture(path) });
    }
    if what.split_whitespace().count() > 1 && what.split_whitespace().any(|w| sign(w).is_some()) {
        return wrong(format!(
            "is {what:?} one text or a sum? For a sum quote each text by itself: \"a horse\" + stripes; for the text: \
             --text={what:?}"
        ));
    }
    if what.starts_with("http://") || what.starts_with("https://") {
        return wrong(format!("{what} is an address; save the picture and name its file"));
    }
    Ok(Summand { weight, of: Of::Words(what.to_owned()) })
}

/// `2:cat`: a weight and what is behind it.
fn weighted(text: &str) -> Option<(f32, &str)> {
    let (weight, what) = text.split_once(':')?;
    let number =
        weight.contains(|c: char| c.is_ascii_digit()) && weight.chars().all(|c| c.is_ascii_digit() || c == '.');
    Some((weight.parse().ok().filter(|_| number)?, what))
}

/// The path that a text is, if it is one: by its beginning, or because such a picture stands here.
fn picture(text: &str) -> Parsed<Option<PathBuf>> {
    if let Some(url) = text.strip_prefix("file://") {
        return match percent_decode_str(url).decode_utf8() {
            Ok(path) if path.starts_with('/') => Ok(Some(path.as_ref().into())),
            _ => wrong(format!("{text} names no file of this machine")),
        };
    }
    if text.starts_with("~/") {
        let path = expand_home(Path::new(text));
        return if path.is_absolute() {
            Ok(Some(path))
        } else {
            wrong(format!("{text}: no home folder is known; set HOME"))
        };
    }
    let path = Path::new(text);
    let named = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    if named || is_picture(path) && path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    if is_picture(path) && !text.contains(char::is_whitespace) && weighted(text).is_none() {
        return wrong(format!("there is no picture {text} here; if it is words: --text={text}"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<(f32, String)>, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let told = |s: Summand| match s.of {
            Of::Words(words) => (s.weight, words),
            Of::Picture(path) => (s.weight, format!("file {}", path.display())),
            Of::Found(path) => (s.weight, format!("found {path}")),
        };
        parse(&words).map(|all| all.into_iter().map(told).collect()).map_err(|e| e.0)
    }

    #[test]
    fn sums_are_read_as_rclip_reads_them() {
        let sum = |terms: &[(f32, &str)]| Ok(terms.iter().map(|(w, t)| (*w, (*t).to_owned())).collect::<Vec<_>>());
        assert_eq!(
            parsed(&["horse", "+", "stripes", "-", "grass"]),
            sum(&[(1.0, "horse"), (1.0, "stripes"), (-1.0, "grass")])
        );
        assert_eq!(
            parsed(&["2:cat", "+", "./me.jpg", "-", "0.5:grass"]),
            sum(&[(2.0, "cat"), (1.0, "file ./me.jpg"), (-0.5, "grass")])
        );
        assert_eq!(
            parsed(&["2:golden retriever", "+", ".5:./swimming pool.jpg"]),
            sum(&[(2.0, "golden retriever"), (0.5, "file ./swimming pool.jpg")])
        );
        assert_eq!(parsed(&["a", "yellow", "car"]), sum(&[(1.0, "a yellow car")]));
        assert_eq!(parsed(&["-", "grass"]), sum(&[(-1.0, "grass")]));
        assert_eq!(parsed(&["+", "1.:/nas/a b.jpg"]), sum(&[(1.0, "file /nas/a b.jpg")]));
        assert_eq!(parsed(&["file:///nas/a%20b.jpg"]), sum(&[(1.0, "file /nas/a b.jpg")]));
        assert_eq!(parsed(&["semi-trailer: red"]), sum(&[(1.0, "semi-trailer: red")]));
        assert_eq!(parsed(&["-x"]), sum(&[(1.0, "-x")]));
        assert_eq!(parsed(&["it's a \"car\""]), sum(&[(1.0, "it's a \"car\"")]));
    }

    #[test]
    fn what_may_mean_two_things_is_refused() {
        for words in [
            &["horse", "+"][..],
            &["+"],
            &["horse", "+", "-", "grass"],
            &["a horse", "on grass"],
            &["horse", "2:stripes"],
            &["horse", "+stripes"],
            &["horse", "-stripes"],
            &["me", "./at.jpg"],
            &["./at.jpg", "night"],
            &["horse + stripes"],
            &["2:horse - stripes"],
            &["12:30 at the station"],
            &["0:horse"],
            &["99999999999999999999999999999999999999999:horse"],
            &[""],
            &[" \t"],
            &["2: "],
            &["horse", "+", "2:"],
            &["absent.jpg"],
            &["2:absent.jpg"],
            &["https://example.org/a.jpg"],
            &["file://host/a.jpg"],
        ] {
            let error = parsed(words).expect_err(&words.join(" "));
            assert!(!error.is_empty());
        }
        let error = parsed(&["a horse", "on grass"]).unwrap_err();
        assert!(error.contains("\"a horse\" and \"on grass\""), "{error}");
    }

    #[test]
    fn a_name_of_a_picture_that_stands_here_is_that_picture() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("2:cat.jpg");
        std::fs::write(&file, "x").unwrap();
        let relative = pathdiff(&file);
        assert_eq!(parsed(&[&relative]), Ok(vec![(1.0, format!("file {relative}"))]));
        assert_eq!(parsed(&[&format!("3:{relative}")]), Ok(vec![(3.0, format!("file {relative}"))]));
    }

    /// A relative name without a leading dot: only its existence tells that it is a file.
    fn pathdiff(file: &Path) -> String {
        let up = std::env::current_dir().unwrap().components().count() - 1;
        format!("src/{}..{}", "../".repeat(up), file.display())
    }

    #[test]
    fn a_line_is_split_at_blanks_and_quotes_keep_them() {
        let split = |line: &str| split(line).map_err(|e| e.0);
        let words = |words: &[&str]| Ok(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            split("  horse +\t\"black stripes\" - 2:\"tall grass\" "),
            words(&["horse", "+", "black stripes", "-", "2:tall grass"])
        );
        assert_eq!(split("\"2:golden retriever\" my dog's"), words(&["2:golden retriever", "my", "dog's"]));
        assert_eq!(split("5\" disk"), words(&["5\"", "disk"]));
        assert_eq!(split(""), words(&[]));
        assert!(split("a \"b").unwrap_err().contains("not closed"));
        assert!(split("\"a\"b").unwrap_err().contains("blank"));
    }

    #[test]
    fn a_list_tells_the_line_that_is_wrong() {
        let questions = list("q.txt", "a car\r\n\n horse + stripes\n".as_bytes()).unwrap();
        let told = |question: &Listed| (question.place.clone(), question.text.clone(), question.sum.len());
        let listed = [("q.txt:1", "a car", 1), ("q.txt:3", "horse + stripes", 2)];
        let listed = listed.map(|(place, text, terms)| (place.to_owned(), text.to_owned(), terms));
        assert_eq!(questions.iter().map(told).collect::<Vec<_>>(), listed);
        for (text, told) in [
            ("a\n\nb +\n", "q.txt:3: nothing"),
            ("\n \n", "no question"),
            (&"x".repeat(LONGEST_LINE + 1), "q.txt:1: "),
            (&format!("a\n{}x", "x + ".repeat(MAX_TERMS)), "q.txt:2: the sum has 65 terms"),
        ] {
            let error = list("q.txt", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(list("q.txt", &b"a\n\xff\n"[..]).unwrap_err().to_string().starts_with("q.txt:2: it is not UTF-8"));
    }
}
