//! Why a request is not answered: a status and words that say what to do, as every route gives them.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use index::IndexError;
use protocol::search::ApiError;

/// How a request about an index can be refused, for the description of the routes.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub enum Refused {
    /// It cannot be understood, or asks for nothing
    #[response(status = 400)]
    Bad(ApiError),
    /// What it names does not exist
    #[response(status = 404)]
    Absent(ApiError),
    /// What it names is not what it should be
    #[response(status = 422)]
    Unfit(ApiError),
    /// The server could not do it
    #[response(status = 500)]
    Failed(ApiError),
    /// The share does not answer
    #[response(status = 504)]
    Stuck(ApiError),
}

/// How a request with a body can be refused besides.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub enum BodyRefused {
    /// It did not arrive in time
    #[response(status = 408)]
    Late(ApiError),
    /// The index and the model do not fit together
    #[response(status = 409)]
    Conflict(ApiError),
    /// It is too large
    #[response(status = 413)]
    TooLarge(ApiError),
    /// It is not said to be JSON
    #[response(status = 415)]
    NotJson(ApiError),
}

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

    /// What it names is there, but is not what it should be.
    pub fn unfit(error: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, error: error.into() }
    }

    /// It did not arrive in time.
    pub fn late(error: impl Into<String>) -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, error: error.into() }
    }

    /// What it needs does not answer.
    pub fn stuck(error: impl Into<String>) -> Self {
        Self { status: StatusCode::GATEWAY_TIMEOUT, error: error.into() }
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

impl From<IndexError> for Refusal {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::BadFilter { what } => Self::bad(what),
            error => Self::failed(&error),
        }
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
