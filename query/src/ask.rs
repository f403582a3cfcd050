//! The conversation with a server: HTTP/1.1 with JSON bodies on one connection.

use anyhow::{Context, Result};
use fleet::HostSpec;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use protocol::IndexPrefix;
use protocol::search::{
    ApiError, Copied, CopyRequest, CopyResponse, OpenIndex, OpenedIndex, SearchRequest, SearchResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::connect;

/// An answer, and the connection on which more can be asked.
pub struct Answer {
    pub opened: OpenedIndex,
    pub response: SearchResponse,
    connection: Connection,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// The server refuses, with its reason.
    #[error("{0}")]
    Refused(String),
    /// The server ended or was killed.
    #[error("the connection to the server broke off")]
    Broken(#[source] hyper::Error),
    /// The server sends what a server of this version does not.
    #[error("the server's answer cannot be understood; end the process \"server\" and ask again")]
    Strange(#[source] serde_json::Error),
}

/// Asks the server on `host` about an index. A server that ends while it is being asked is started once more.
pub async fn ask(
    host: &HostSpec,
    prefix: &IndexPrefix,
    model: Option<String>,
    root_here: Option<String>,
    question: &SearchRequest,
) -> Result<Answer> {
    let here = prefix.dir().to_str().context("the index's path is not UTF-8")?;
    let index_prefix = host.path_there(here);
    let open = OpenIndex { index_prefix, model, root_here };
    let stream = match connect::warm(host).await? {
        Some(stream) => stream,
        None => connect::connect(host).await?,
    };
    match ask_over(stream, &open, question).await {
        // It left, or the way to it broke, since the last question.
        Err(AskError::Broken(_)) => Ok(ask_over(connect::connect(host).await?, &open, question).await?),
        answer => Ok(answer?),
    }
}

async fn ask_over(stream: UnixStream, open: &OpenIndex, question: &SearchRequest) -> Result<Answer, AskError> {
    let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
    // What breaks the connection shows in the request that is under way.
    tokio::spawn(async move { drop(driver.await) });
    let mut connection = Connection { sender };
    let opened: OpenedIndex = connection.post("/v1/indexes", open).await?;
    let response = connection.post(&format!("/v1/indexes/{}/search", opened.name), question).await?;
    Ok(Answer { opened, response, connection })
}

impl Answer {
    /// Has pictures copied; what became of each. Not repeated when the connection breaks: some may be copied already.
    pub async fn copy(&mut self, request: &CopyRequest) -> Result<Vec<Copied>> {
        let path = format!("/v1/indexes/{}/copy", self.opened.name);
        let response: CopyResponse = self.connection.post(&path, request).await?;
        Ok(response.copies)
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn post<A: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<A, AskError> {
        let body = serde_json::to_vec(body).expect("requests hold only texts and numbers");
        let request = Request::post(path)
            .header(HOST, "server")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("an index's name needs no escape");
        self.sender.ready().await.map_err(AskError::Broken)?;
        let response = self.sender.send_request(request).await.map_err(AskError::Broken)?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(AskError::Broken)?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(AskError::Strange);
        }
        let error = serde_json::from_slice(&bytes).map(|e: ApiError| e.error);
        Err(AskError::Refused(error.unwrap_or_else(|_| format!("the server answered {status}"))))
    }
}
