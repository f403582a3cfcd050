//! Questions one after the other: one connection, a history, and the last answer to refer to.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use protocol::search::MAX_TOP_K;
use protocol::{folders, note};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use stop::Stop;

use crate::answer::{self, Answer};
use crate::args::Args;
use crate::filters::{self, FilterArgs, Shape};
use crate::last::Last;
use crate::question::{self, Of, Summand};
use crate::session::Session;
use crate::tell::print;
use crate::{WrongUsage, html, open, page, show, unless_interrupted};

/// Questions that are remembered.
const HISTORY: usize = 2_000;

const HELP: &str = "\
a yellow car                    what the pictures should show
horse + 2:\"tall grass\" - sky   a sum, with a weight; quotes keep words together
./me.jpg + night                a picture, and words
:text WORDS                     words as they are, whatever they hold
:like 3 [+ night]               like number 3 of the answer
:more                           the next matches
:open [3]                       open number 3 (or 1) with the viewer
:copy [FOLDER]                  copy what was found
:html FILE                      write a page with what was found
:top N                          find N at a time

Leave pictures out, and ask again; without a value: no longer
:under FOLDER   :glob PATTERN   :after TIME   :before TIME
:min-size SIZE  :orientation SHAPE   :min-percentile P
:all                            leave nothing out

:quit or Ctrl-D leaves. Ctrl-C clears the line, or stops a question.
";

/// What a line wants.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    /// A sum, and the rank of one more summand.
    Ask(Vec<Summand>, Option<usize>),
    /// The same question with other filters.
    Again,
    More,
    Open(usize),
    Copy(Option<PathBuf>),
    Page(PathBuf),
    Help,
    Quit,
}

/// A conversation.
struct Prompt {
    session: Session,
    args: Args,
    asked: Option<Vec<Summand>>,
    /// As far as it was shown.
    answer: Option<Answer>,
}

/// Talks until the person leaves; `None` if the program is told to end.
pub async fn run(session: Session, args: Args, stop: &Stop) -> Result<Option<()>> {
    let config = Config::builder().max_history_size(HISTORY)?.history_ignore_space(true).auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config).context("cannot ask on this terminal")?;
    // There is none the first time; one that cannot be read only means fewer lines to come back to.
    let _ = history().map(|file| editor.load_history(&file));
    let pictures = show::counted(session.opened.num_images, "picture", "pictures");
    note(&format!("{pictures} in {}", session.prefix().dir().display()));
    note("Ask for what they show; :help says more, Ctrl-D leaves.");
    let mut prompt = Prompt { session, args, asked: None, answer: None };
    loop {
        let line;
        let modes = tcgetattr(std::io::stdin());
        let reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline("> ");
            // At once: whoever ends the terminal loses nothing. It is written for this person alone.
            let _ = history().map(|file| editor.append_history(&file));
            (editor, line)
        });
        (editor, line) = tokio::select! {
            read = reading => read?,
            // Ctrl-C is a key here: this is another's wish.
            () = stop.wait() => {
                // The terminal as it was before the line was begun, if it is still there.
                let _ = modes.map(|modes| tcsetattr(std::io::stdin(), OptionalActions::Now, &modes));
                return Ok(None);
            }
        };
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Some(())),
            Err(e) => return Err(e).context("cannot read from this terminal"),
        };
        let step = match understand(&line, &mut prompt.args) {
            Ok(Step::Quit) => return Ok(Some(())),
            Ok(step) => step,
            Err(e) => {
                note(&format!("error: {e}"));
                continue;
            }
        };
        match unless_interrupted(stop, prompt.take(step)).await {
            Ok(Some(())) => {}
            Ok(None) => {
                stop.forget();
                note("stopped");
            }
            Err(e) => note(&format!("error: {e:#}")),
        }
    }
}

fn history() -> Option<PathBuf> {
    Some(folders::state().ok()?.join("questions"))
}

/// What a line wants; settings are taken into `args`.
fn understand(line: &str, args: &mut Args) -> Result<Step, WrongUsage> {
    let line = line.trim();
    let Some(command) = line.strip_prefix(':') else {
        let summands = question::parse(&question::split(line)?)?;
        return Ok(if summands.is_empty() { Step::Nothing } else { Step::Ask(summands, None) });
    };
    let (name, rest) =
        command.split_once(char::is_whitespace).map_or((command, ""), |(name, rest)| (name, rest.trim()));
    let value = Some(rest).filter(|rest| !rest.is_empty());
    let bad = |e: String| WrongUsage(format!(":{name} {rest}: {e}"));
    let needed = |what: &str| value.ok_or_else(|| WrongUsage(format!(":{name} needs {what}")));
    let count = |text: &str| {
        text.parse()
            .ok()
            .filter(|n| (1..=MAX_TOP_K).contains(n))
            .ok_or_else(|| bad("it is not a number from 1".to_owned()))
    };
    let filters = &mut args.filters;
    match name {
        "help" | "h" | "?" => return Ok(Step::Help),
        "quit" | "q" | "exit" => return Ok(Step::Quit),
        "more" | "m" => return Ok(Step::More),
        "open" | "o" => return Ok(Step::Open(value.map_or(Ok(1), count)?)),
        "copy" => return Ok(Step::Copy(value.map(PathBuf::from))),
        "html" => {
            let file = Path::new(needed("the name of a page, as found.html")?);
            page::check("--html", file)?;
            return Ok(Step::Page(file.to_owned()));
        }
        "text" => {
            let words = needed("words")?;
            return Ok(Step::Ask(vec![Summand::plain(Of::Words(words.to_owned()))], None));
        }
        "like" | "l" => {
            let (rank, sum) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let rank = count(rank)?;
            let words = question::split(sum)?;
            if words.first().is_some_and(|word| word != "+" && word != "-") {
                return Err(bad("write + or - between the rank and the words".to_owned()));
            }
            return Ok(Step::Ask(question::parse(&words)?, Some(rank)));
        }
        "top" => args.top_k = Some(count(needed("a number")?)?),
        "all" => *filters = FilterArgs::default(),
        "under" => filters.under = value.map(str::to_owned).into_iter().collect(),
        "glob" => filters.glob = value.map(str::to_owned).into_iter().collect(),
        "after" => filters.after = value.map(filters::time).transpose().map_err(bad)?,
        "before" => filters.before = value.map(filters::time).transpose().map_err(bad)?,
        "min-percentile" => filters.min_percentile = value.map(filters::percent).transpose().map_err(bad)?,
        "min-size" => {
            let sizes: Result<_, _> = rest.split_whitespace().map(filters::min_size).collect();
            filters.min_size = sizes.map_err(bad)?;
        }
        "orientation" => {
            let shape = value.map(|text| Shape::from_str(text, true)).transpose();
            filters.orientation = shape.map_err(|_| bad("it is landscape, portrait or square".to_owned()))?;
        }
        _ => return Err(WrongUsage(format!(":{name} is no command; :help tells them"))),
    }
    Ok(Step::Again)
}

impl Prompt {
    async fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Nothing | Step::Quit => Ok(()),
            Step::Help => print(HELP.to_owned()).await,
            Step::Ask(mut summands, like) => {
                if let Some(rank) = like {
                    let last = match &self.answer {
                        Some(answer) => answer.last(&self.session),
                        None => Last::load(self.session.prefix().dir())?,
                    };
                    summands.insert(0, last.like(rank)?);
                }
                self.ask(summands, 0).await
            }
            Step::Again => match self.asked.clone() {
                Some(summands) => self.ask(summands, 0).await,
                None => Ok(()),
            },
            Step::More => {
                let summands = self.asked.clone().ok_or_else(nothing)?;
                let shown = self.answer.as_ref().map_or(0, |answer| answer.rows.len());
                self.ask(summands, shown).await
            }
            Step::Open(rank) => {
                let row = self.answer.as_ref().and_then(|answer| answer.rows.get(rank - 1));
                open::picture(&row.with_context(|| format!("there is no number {rank} to open"))?.path).await
            }
            Step::Copy(folder) => {
                let answer = self.answer.as_mut().filter(|answer| !answer.rows.is_empty()).ok_or_else(nothing)?;
                let args = Args { results_dir: folder.or(self.args.results_dir.clone()), ..self.args.clone() };
                let copied = answer.copy(&mut self.session, &args).await?;
                note(&copied);
                Ok(())
            }
            Step::Page(file) => {
                let (Some(answer), Some(summands)) = (&self.answer, &self.asked) else { return Err(nothing().into()) };
                let summary = show::counted(answer.rows.len() as u64, "match", "matches");
                let title = answer::title(summands);
                if let Some(missing) = html::write(&file, &title, &summary, &answer.rows, &mut self.session).await? {
                    note(&format!("query: {missing}"));
                }
                note(&format!("page: {}", file.display()));
                Ok(())
            }
        }
    }

    /// Asks, and shows the matches behind the first `shown`.
    async fn ask(&mut self, summands: Vec<Summand>, shown: usize) -> Result<()> {
        let began = Instant::now();
        let top_k = (shown + self.args.top_k()).min(MAX_TOP_K);
        let answer = Answer::to(&mut self.session, &self.args, &summands, top_k).await?;
        answer.warn();
        let summary = answer.summary(began.elapsed());
        let new = answer.rows.get(shown..).unwrap_or_default();
        answer::table(new, &mut self.session, &self.args).await?;
        note(if new.is_empty() && shown > 0 { "there are no more matches" } else { &summary });
        self.asked = Some(summands);
        answer::remember(&answer.last(&self.session));
        self.answer = Some(answer);
        Ok(())
    }
}

fn nothing() -> WrongUsage {
    WrongUsage("nothing was found yet; ask a question first".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::filters::MinSize;

    fn args() -> Args {
        Args::try_parse_from(["query"]).unwrap()
    }

    fn step(line: &str) -> Result<Step, String> {
        understand(line, &mut args()).map_err(|e| e.0)
    }

    #[test]
    fn a_line_is_a_question_or_a_command() {
        let words = |weight, words: &str| Summand { weight, of: Of::Words(words.to_owned()) };
        assert_eq!(step("a yellow car"), Ok(Step::Ask(vec![words(1.0, "a yellow car")], None)));
        assert_eq!(
            step(" horse - 2:\"tall grass\""),
            Ok(Step::Ask(vec![words(1.0, "horse"), words(-2.0, "tall grass")], None))
        );
        assert_eq!(step(":like 3 + night"), Ok(Step::Ask(vec![words(1.0, "night")], Some(3))));
        assert_eq!(step(":text 2:1 + x"), Ok(Step::Ask(vec![words(1.0, "2:1 + x")], None)));
        assert_eq!(step("  "), Ok(Step::Nothing));
        assert_eq!(step(":open"), Ok(Step::Open(1)));
        assert_eq!(step(":open 3"), Ok(Step::Open(3)));
        assert_eq!(step(":copy /a b"), Ok(Step::Copy(Some("/a b".into()))));
        assert_eq!(step(":html a.html"), Ok(Step::Page("a.html".into())));
        assert_eq!(step(":q"), Ok(Step::Quit));
        for wrong in [
            ":",
            ":no",
            ":like",
            ":like x",
            ":like 0",
            ":like 3 night",
            ":open 0",
            ":top",
            ":html",
            ":html a.jpg",
            ":after noon",
            ":min-size 3",
            ":orientation round",
            ":text",
            "a +",
            "\"a",
        ] {
            assert!(step(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_are_set_one_by_one_and_taken_back() {
        let mut args = args();
        for line in [
            ":under my photos/2019",
            ":after 2019",
            ":min-size 10x10 1MB",
            ":orientation Portrait",
            ":top 3",
            ":min-percentile 99",
        ] {
            assert_eq!(understand(line, &mut args).unwrap(), Step::Again);
        }
        assert_eq!(args.filters.under, ["my photos/2019"]);
        assert_eq!(args.filters.min_size, [MinSize::Pixels(10, 10), MinSize::Bytes(1_000_000)]);
        assert_eq!((args.top_k(), args.filters.min_percentile), (3, Some(99.0)));
        understand(":under", &mut args).unwrap();
        assert!(args.filters.under.is_empty() && args.filters.after.is_some());
        understand(":all", &mut args).unwrap();
        assert!(args.filters.after.is_none() && args.filters.min_size.is_empty());
    }
}
