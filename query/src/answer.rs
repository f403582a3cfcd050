//! A question's way: its terms and filters to the server, its matches to the person.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use protocol::search::{Copied, CopyRequest, CopyResponse, SearchRequest, SearchResponse, Vouched};
use protocol::{absolute, note};

use crate::args::{Args, Format};
use crate::last::Last;
use crate::pictures;
use crate::question::Summand;
use crate::row::Row;
use crate::session::Session;
use crate::show::{self, Screen};
use crate::sixel::Cell;
use crate::tell::{LOADING, patiently, print};
use crate::{html, open, picture, trust};

/// What failed, named one by one up to this many.
pub const MOST_NOTES: usize = 5;

/// The matches of a question.
pub struct Answer {
    pub rows: Vec<Row>,
    num_images: u64,
    warning: Option<String>,
}

impl Answer {
    /// Asks for `top_k` matches.
    pub async fn to(session: &mut Session, args: &Args, summands: &[Summand], top_k: usize) -> Result<Self> {
        let request = request(session, args, summands, top_k)?;
        let response = patiently(LOADING, session.search(&request)).await?;
        Ok(Self::of(response, session, None))
    }

    /// What a server answers. `question` is told in every row, if it is given.
    pub fn of(response: SearchResponse, session: &Session, question: Option<&str>) -> Self {
        let paths = session.paths();
        let rows = response.matches.into_iter().map(|found| {
            let here = paths.here(&found.path);
            Row::new(found, here, question)
        });
        Self { rows: rows.collect(), num_images: response.num_images, warning: response.warning }
    }

    /// What can be referred to later.
    pub fn last(&self, session: &Session) -> Last {
        let paths = self.rows.iter().map(|row| row.canonical.clone()).collect();
        Last { index_prefix: session.prefix().dir().to_owned(), paths }
    }

    /// `10 matches of 12,345 pictures in 32 ms`
    pub fn summary(&self, took: Duration) -> String {
        show::summary(self.rows.len(), self.num_images, took)
    }

    /// What the server warns of.
    pub fn warn(&self) {
        if let Some(warning) = &self.warning {
            note(&format!("query: {warning}"));
        }
    }

    /// Prints the matches for people: on a terminal as a table, with pictures where it shows them.
    pub async fn print(&self, session: &mut Session, args: &Args) -> Result<()> {
        table(&self.rows, session, args).await
    }

    /// Has the found pictures copied, fills in where to, and says what became of it.
    pub async fn copy(&mut self, session: &mut Session, args: &Args) -> Result<String> {
        let folder = args.results_dir.clone().unwrap_or_else(|| session.prefix().results());
        let folder = absolute(folder)?;
        let paths = session.paths();
        let target =
            folder.to_str().context("the results folder's name is not UTF-8; give another with --results-dir")?;
        let request = CopyRequest {
            vouched: vouched(session, &folder),
            paths: self.rows.iter().map(|row| row.canonical.clone()).collect(),
            folder: paths.host.path_there(target),
            stamp: chrono::Local::now().format("%Y%m%d_%H%M%S").to_string(),
            root_here: paths.root_there(),
        };
        let hint = "the pictures were not copied; --results-dir chooses another folder, --no-copy-results none";
        let CopyResponse { copies, distrusted } = session.copy(&request).await.context(hint)?;
        if let Some(why) = distrusted {
            let prefix = quoted(&session.prefix().dir().to_string_lossy());
            return Ok(format!(
                "query: nothing is copied: {why}; if you trust who made this index: query --trust {prefix}"
            ));
        }
        let paths = session.paths();
        let mut failures = Vec::new();
        for (row, copied) in self.rows.iter_mut().zip(copies) {
            match copied {
                Copied::To(path) => row.copy = Some(paths.host.path_here(&path)),
                Copied::Failed(reason) => failures.push(format!("query: rank {} was not copied: {reason}", row.rank)),
            }
        }
        failures.iter().take(MOST_NOTES).for_each(|f| note(f));
        if failures.len() > MOST_NOTES {
            note(&format!("query: and {} more were not copied", failures.len() - MOST_NOTES));
        }
        let rows = self.rows.len();
        Ok(match failures.len() {
            0 => format!("copied to {}", folder.display()),
            missing => format!("{} of {rows} copied to {}", rows - missing, folder.display()),
        })
    }
}

/// A path as a shell reads it, to be pasted.
fn quoted(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+@%:,=".contains(c));
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// What the server can take this machine's word for.
fn vouched(session: &Session, folder: &Path) -> Vouched {
    let seen = match session.paths().host.is_local() {
        true => Vouched::default(),
        false => trust::seen_here(session.prefix(), &session.opened, folder),
    };
    match trust::is_allowed(session.prefix()) {
        Ok(allowed) => Vouched { index: seen.index || allowed, ..seen },
        Err(e) => {
            note(&format!("query: {e:#}"));
            seen
        }
    }
}

/// A question as the server understands it. Reads its pictures.
pub fn request(session: &Session, args: &Args, summands: &[Summand], top_k: usize) -> Result<SearchRequest> {
    let paths = session.paths();
    Ok(SearchRequest {
        filters: args.filters.resolve(&paths)?,
        min_percentile: args.filters.min_percentile,
        exact: args.exact,
        collapse: !args.no_collapse,
        templates: !args.no_templates,
        ..SearchRequest::new(picture::terms(summands, &paths)?, top_k)
    })
}

/// Prints rows for people.
pub async fn table(rows: &[Row], session: &mut Session, args: &Args) -> Result<()> {
    let Some(screen) = Screen::of_stdout() else { return print(show::tab_separated(rows)).await };
    let Some(protocol) = pictures::protocol(args.pictures, Cell::of_stdout(), |name| std::env::var(name).ok()) else {
        return print(show::table(rows, screen)).await;
    };
    let mut trouble = None;
    for row in rows {
        let jpeg = session.thumbnail(&row.canonical, pictures::HEIGHT).await;
        print(pictures::entry(row, jpeg.as_deref().ok(), protocol, screen)).await?;
        trouble = trouble.or(jpeg.err());
    }
    if let Some(e) = trouble {
        note(&format!("query: not all pictures can be shown: {e:#}"));
    }
    Ok(())
}

/// Asks one question, shows and copies its matches, and does with them what else `args` want.
pub async fn one(session: &mut Session, args: &Args, summands: &[Summand], began: Instant) -> Result<()> {
    let mut answer = Answer::to(session, args, summands, args.top_k()).await?;
    answer.warn();
    let summary = answer.summary(began.elapsed());
    remember(&answer.last(session));
    let format = args.format();
    // People see at once what programs get whole, with the copies.
    if format == Format::People {
        answer.print(session, args).await?;
    }
    let copying = !args.no_copy_results && !answer.rows.is_empty();
    let copied = if copying { Some(answer.copy(session, args).await) } else { None };
    print_for_programs(format, &answer.rows, true).await?;
    note(&summary);
    if let Some(copied) = copied {
        note(&copied?);
    }
    if let Some(file) = &args.html {
        let title = title(summands);
        if let Some(missing) = html::write(file, &title, &summary, &answer.rows, session).await? {
            note(&format!("query: {missing}"));
        }
        note(&format!("page: {}", file.display()));
    }
    for row in answer.rows.iter().take(args.open.unwrap_or(0)) {
        open::picture(&row.path).await?;
    }
    Ok(())
}

/// Prints rows for programs; `first` if nothing was printed before.
pub async fn print_for_programs(format: Format, rows: &[Row], first: bool) -> Result<()> {
    match format {
        Format::People => Ok(()),
        Format::Json => print(show::json_lines(rows)).await,
        Format::Csv => print(show::csv(rows, first)).await,
        Format::Paths { nul } => print(show::paths(rows, nul)).await,
    }
}

/// Remembers an answer. Not remembering only means that `--like` cannot mean it, which it then says.
pub fn remember(last: &Last) {
    if let Err(e) = last.save() {
        note(&format!("query: --like will not know this answer: {e:#}"));
    }
}

/// A question in words.
pub fn title(summands: &[Summand]) -> String {
    let mut text = String::new();
    for summand in summands {
        text += match (text.is_empty(), summand.weight < 0.0) {
            (true, false) => "",
            (true, true) => "- ",
            (false, false) => " + ",
            (false, true) => " - ",
        };
        if summand.weight.abs() != 1.0 {
            text += &format!("{}:", summand.weight.abs());
        }
        text += &summand.of.to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Of;

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        for (path, text) in [("/nas/joe's $(x)/i", "'/nas/joe'\\''s $(x)/i'"), ("/nas/bilder-ü/i", "/nas/bilder-ü/i")]
        {
            assert_eq!(quoted(path), text);
        }
    }

    #[test]
    fn a_question_is_titled_as_it_was_asked() {
        let sum = [
            Summand { weight: -1.0, of: Of::Words("grass".into()) },
            Summand { weight: 2.5, of: Of::Picture("./a b.jpg".into()) },
            Summand { weight: 1.0, of: Of::Found("/nas/c.jpg".into()) },
        ];
        assert_eq!(title(&sum), "- grass + 2.5:./a b.jpg + /nas/c.jpg");
    }
}
