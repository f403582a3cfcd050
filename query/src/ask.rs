//! The conversation with a server: HTTP/1.1 with JSON bodies on one connection.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use protocol::search::ApiError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

/// No answer is longer than this: that with the most matches has some tens of MiB.
const LONGEST_ANSWER: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server refuses, with its reason.
    #[error("{0}")]
    Refused(String),
    /// The server ended or was killed.
    #[error("the connection to the server broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The same, before it could have read anything of the request.
    #[error("the connection to the server broke off")]
    Unsent(#[source] hyper::Error),
    /// Nobody reads so much.
    #[error("the answer is longer than {} MiB; ask for less at once, with a smaller --top-k", LONGEST_ANSWER >> 20)]
    TooLong,
    /// The server sends what a server of this version does not.
    #[error("the server's answer cannot be understood; end the process \"server\" and ask again")]
    Strange(#[source] serde_json::Error),
}

/// One connection to a server.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Speaks HTTP over `stream`.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, AskError> {
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // What breaks the connection shows in the request that is under way.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { sender })
    }

    /// Posts a body and reads the answer, or the server's reason why there is none.
    pub async fn post<A: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<A, AskError> {
        let body = serde_json::to_vec(body).expect("requests hold only texts and numbers");
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let answer = granted(self.send(request, body.into()).await?)?;
        serde_json::from_slice(&answer).map_err(AskError::Strange)
    }

    /// Reads what is at a path, or the server's reason why there is nothing.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, AskError> {
        granted(self.send(Request::get(path), Bytes::new()).await?)
    }

    /// Sends a request and reads the whole answer, whatever it is.
    pub async fn send(&mut self, request: Builder, body: Bytes) -> Result<Response<Bytes>, AskError> {
        let request = request.header(HOST, "server").body(Full::new(body)).expect("a path needs no more escapes");
        self.sender.ready().await.map_err(broken)?;
        let (head, body) = self.sender.send_request(request).await.map_err(broken)?.into_parts();
        let unread = |e: Box<dyn std::error::Error + Send + Sync>| match e.downcast::<LengthLimitError>() {
            Ok(_) => AskError::TooLong,
            Err(e) => AskError::Broken(e),
        };
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(unread)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// What an answer holds, if it is one.
fn granted(answer: Response<Bytes>) -> Result<Bytes, AskError> {
    if answer.status().is_success() {
        return Ok(answer.into_body());
    }
    let error = serde_json::from_slice(answer.body()).map(|e: ApiError| e.error);
    Err(AskError::Refused(error.unwrap_or_else(|_| format!("the server answered {}", answer.status()))))
}

fn broken(error: hyper::Error) -> AskError {
    if error.is_closed() || error.is_canceled() { AskError::Unsent(error) } else { AskError::Broken(error.into()) }
}
