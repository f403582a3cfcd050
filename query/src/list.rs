//! A list of questions: several are sent at a time, and each is answered for itself.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use protocol::search::{Answered, BatchRequest, MAX_BATCH, MAX_TOP_K, SearchRequest, SearchResponse, What};
use protocol::{note, plain};

use crate::answer::{self, Answer, MOST_NOTES};
use crate::args::{Args, Format};
use crate::picture;
use crate::question::Listed;
use crate::session::Session;
use crate::show::{self, Screen};
use crate::tell::{LOADING, patiently, print};

/// Questions that are sent at a time: few enough that a person sees answers come.
const AT_ONCE: usize = 100;
const _: () = assert!(AT_ONCE <= MAX_BATCH);

/// Pictures that are sent at a time, in bytes of base64: as many as one question may have.
const MOST_SENT: usize = picture::MOST_BYTES as usize / 3 * 4;

/// Asks all questions and prints their matches in their order, each behind its question. One that has no answer is named by
/// its line, and keeps no other from being asked.
pub async fn answer(session: &mut Session, args: &Args, questions: &[Listed], began: Instant) -> Result<()> {
    // What is wrong with every question is told once.
    args.filters.resolve(&session.paths())?;
    let top_k = args.top_k();
    let mut told = Told { args, first: true, matches: 0, missing: 0 };
    let mut batch = Batch::default();
    for question in questions {
        let request = answer::request(session, args, &question.sum, top_k);
        let bytes = request.as_ref().map_or(0, pictures);
        if !batch.has_room(top_k, bytes) {
            told.answer(session, std::mem::take(&mut batch)).await?;
        }
        batch.push(question, request, bytes);
    }
    told.answer(session, batch).await?;
    let (asked, matches) = (questions.len() as u64, show::counted(told.matches as u64, "match", "matches"));
    let took = show::time(began.elapsed());
    note(&format!("{}, {matches} in {took}", show::counted(asked, "question", "questions")));
    match told.missing {
        0 => Ok(()),
        missing => {
            let questions = show::counted(asked, "question", "questions");
            bail!("{missing} of {questions} {} no answer", if missing == 1 { "has" } else { "have" })
        }
    }
}

/// Bytes of a question's pictures as they are sent.
fn pictures(request: &SearchRequest) -> usize {
    let bytes = |what: &What| if let What::Picture(base64) = what { base64.len() } else { 0 };
    request.terms.iter().map(|term| bytes(&term.what)).sum()
}

/// Questions that are sent together.
#[derive(Default)]
struct Batch<'a> {
    /// In their order; those that cannot be asked with the reason.
    questions: Vec<(&'a Listed, Option<anyhow::Error>)>,
    /// The others.
    requests: Vec<SearchRequest>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    /// Whether one more question fits, for `top_k` matches and with `bytes` of pictures.
    fn has_room(&self, top_k: usize, bytes: usize) -> bool {
        let most = AT_ONCE.min(MAX_TOP_K / top_k).max(1);
        self.questions.is_empty() || self.questions.len() < most && self.bytes + bytes <= MOST_SENT
    }

    fn push(&mut self, question: &'a Listed, request: Result<SearchRequest>, bytes: usize) {
        let unasked = request.map(|request| self.requests.push(request)).err();
        self.questions.push((question, unasked));
        self.bytes += bytes;
    }
}

/// What was printed so far.
struct Told<'a> {
    args: &'a Args,
    /// Nothing was.
    first: bool,
    matches: usize,
    /// Questions without an answer.
    missing: usize,
}

impl Told<'_> {
    /// Asks, and prints the answers.
    async fn answer(&mut self, session: &mut Session, batch: Batch<'_>) -> Result<()> {
        let Some((first, _)) = batch.questions.first() else { return Ok(()) };
        let lost = || format!("the questions from {} on have no answers", first.place);
        let asked = BatchRequest { requests: batch.requests };
        let answering = session.search_batch(&asked);
        let answers = if self.first { patiently(LOADING, answering).await } else { answering.await };
        let mut answers = answers.with_context(lost)?.into_iter();
        for (question, unasked) in &batch.questions {
            let answered = match unasked {
                Some(e) => Answered::Error(format!("{e:#}")),
                None => answers.next().with_context(lost)?,
            };
            match answered {
                Answered::Answer(response) => self.show(session, question, response).await?,
                Answered::Error(why) => self.miss(&question.place, &why),
            }
        }
        Ok(())
    }

    async fn show(&mut self, session: &mut Session, question: &Listed, response: SearchResponse) -> Result<()> {
        let answer = Answer::of(response, session, Some(&question.text));
        let first = std::mem::replace(&mut self.first, false);
        if first {
            answer.warn();
        }
        self.matches += answer.rows.len();
        let format = self.args.format();
        if format != Format::People {
            return answer::print_for_programs(format, &answer.rows, first).await;
        }
        if Screen::of_stdout().is_some() {
            let blank = if first { "" } else { "\n" };
            print(format!("{blank}{}\n", plain(&question.text))).await?;
        }
        answer.print(session, self.args).await
    }

    fn miss(&mut self, place: &str, why: &str) {
        self.missing += 1;
        if self.missing <= MOST_NOTES {
            note(&format!("query: {place}: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::search::Term;

    use super::*;

    #[test]
    fn no_batch_is_larger_than_a_server_takes() {
        let question = Listed { place: "q:1".to_owned(), text: "x".to_owned(), sum: Vec::new() };
        let taken = |top_k: usize, bytes: usize| {
            let mut batch = Batch::default();
            while batch.has_room(top_k, bytes) {
                let request = SearchRequest::new(Vec::new(), top_k);
                batch.push(&question, Ok(request), bytes);
            }
            (batch.requests.len(), batch.bytes)
        };
        assert_eq!(taken(10, 0), (AT_ONCE, 0));
        assert_eq!(taken(MAX_TOP_K / 3, 0).0, 3);
        assert_eq!(taken(MAX_TOP_K, 0).0, 1);
        assert_eq!(taken(10, MOST_SENT / 2).0, 2);
        assert_eq!(taken(10, MOST_SENT + 9).0, 1, "the server says what is too large for it");
    }

    #[test]
    fn only_pictures_are_weighed() {
        let term = |what| Term { weight: 1.0, what };
        let terms =
            vec![term(What::Text("abc".into())), term(What::Picture("/9j/".into())), term(What::Path("/a".into()))];
        assert_eq!(pictures(&SearchRequest::new(terms, 1)), 4);
    }
}
