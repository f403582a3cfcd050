//! A question's vector.

use protocol::Embedding;
use protocol::search::{SearchRequest, What};

use crate::encoders::SharedEncoder;
use crate::refusal::Refusal;

/// The vector of a question.
pub fn embed(request: &SearchRequest, encoder: &SharedEncoder) -> Result<Embedding, Refusal> {
    let text = match (&request.text, request.terms.as_slice()) {
        (Some(text), []) => text,
        (None, [term]) => match &term.what {
            What::Text(text) => text,
            _ => return Err(Refusal::bad("only words are understood")),
        },
        _ => return Err(Refusal::bad("the question has not one text")),
    };
    if text.trim().is_empty() {
        return Err(Refusal::bad("the text is empty: say what the pictures should show, as \"a yellow car\""));
    }
    encoder.encode(text)
}
