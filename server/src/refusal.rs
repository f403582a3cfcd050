//! Why a request is not answered: a status and words that say what to do, as every route gives them.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::search::ApiError;

/// An answer that is not one.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// The request cannot be understood or asks for nothing.
    pub fn bad(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.into() }
    }

    /// What it names does not exist.
    pub fn absent(error: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, error: error.into() }
    }

    /// The route exists, but not for this method.
    pub fn wrong_method(error: impl Into<String>) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, error: error.into() }
    }

    /// What it names and what is there do not fit together.
    pub fn conflict(error: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, error: error.into() }
    }

    /// The server could not do it.
    pub fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error: causes(error) }
    }

    /// The same with something more to try.
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.error = format!("{}; {hint}", self.error);
        self
    }

    /// The words.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// Whether what was asked for does not exist.
    pub fn is_absent(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

/// An error and its causes in one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(error.source(), |e| e.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), error: rejection.body_text() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ApiError { error: self.error })).into_response()
    }
}
