//! What the page may ask for: its own files, a search, and pictures of the index. Nothing else is passed on.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::request::Builder;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::Method;
use hyper::body::Bytes;
use protocol::search::{ApiError, Match, SearchRequest, SearchResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::web::door::Mark;
use crate::web::guard::{Admitted, Guard};
use crate::web::upstream::Upstream;

/// A question may hold some pictures' files.
const QUESTION_BYTES: usize = 64 << 20;
/// How long a question may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// The page's files: name, type and text.
const FILES: [(&str, &str, &str); 8] = [
    ("", "text/html; charset=utf-8", include_str!("../../web/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("../../web/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../web/icon.svg")),
    ("app.js", SCRIPT, include_str!("../../web/app.js")),
    ("grid.js", SCRIPT, include_str!("../../web/grid.js")),
    ("large.js", SCRIPT, include_str!("../../web/large.js")),
    ("picture.js", SCRIPT, include_str!("../../web/picture.js")),
    ("question.js", SCRIPT, include_str!("../../web/question.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Sent with everything: nothing runs, or is shown, but what is served here, and nothing here is shown elsewhere.
const PROTECTION: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// The page of one index.
pub struct Site {
    pub guard: Guard,
    pub server: Upstream,
    /// What the page asks first.
    pub question: Option<String>,
}

/// All routes. Each is below the token, which the guard has compared before.
pub fn router(site: Arc<Site>) -> Router {
    let mut router = Router::new();
    for (name, kind, text) in FILES {
        router = router.route(&format!("/{{token}}/{name}"), get(async move || ([(CONTENT_TYPE, kind)], text)));
    }
    router
        .route("/{token}", get(async |State(site): State<Arc<Site>>| Redirect::to(&site.guard.home())))
        .route("/{token}/index", get(index))
        .route("/{token}/search", post(search))
        .route("/{token}/thumbnail", get(thumbnail))
        .route("/{token}/picture", get(picture))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_owned()))
        .layer(DefaultBodyLimit::max(QUESTION_BYTES))
        .layer(from_fn_with_state(site.clone(), admit))
        .with_state(site)
}

async fn admit(
    State(site): State<Arc<Site>>,
    Extension(connection): Extension<Mark>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let admitted = site.guard.check(&head);
    if admitted.is_ok() {
        connection.known();
    }
    let mut response = match admitted {
        Ok(Admitted::Known) => next.run(Request::from_parts(head, body)).await,
        Ok(Admitted::Once) => Redirect::to(&site.guard.home()).into_response(),
        Err(refused) => (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response(),
    };
    protect(response.headers_mut());
    response
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Why the page gets no answer.
struct Refusal(StatusCode, String);

impl Refusal {
    fn unreachable(error: &anyhow::Error) -> Self {
        Self(StatusCode::BAD_GATEWAY, format!("{error:#}"))
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

async fn index(State(site): State<Arc<Site>>) -> Result<Json<Value>, Refusal> {
    let place = site.server.opened().await.map_err(|e| Refusal::unreachable(&e))?;
    let opened = &place.opened;
    Ok(Json(json!({
        "num_images": opened.num_images,
        "model_name": opened.model_name,
        "root": place.paths().here(&opened.root),
        "question": site.question,
    })))
}

/// An answer of the server, whose matches also say where they are here.
#[derive(Serialize)]
struct Found {
    num_images: u64,
    seconds: f64,
    warning: Option<String>,
    matches: Vec<FoundHere>,
}

#[derive(Serialize)]
struct FoundHere {
    #[serde(flatten)]
    found: Match,
    here: String,
}

async fn search(State(site): State<Arc<Site>>, request: Request) -> Result<Response, Refusal> {
    let late = |_| Refusal(StatusCode::REQUEST_TIMEOUT, "the question did not arrive; send it again".to_owned());
    let arrived = timeout(PATIENCE, Json::<SearchRequest>::from_request(request, &())).await.map_err(late)?;
    let Json(mut question) = arrived?;
    let place = site.server.place();
    let paths = place.paths();
    for folder in &mut question.filters.under {
        *folder = paths.folder(folder).map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.to_string()))?;
    }
    let body = serde_json::to_vec(&question).expect("requests hold only texts and numbers");
    let head = |request: Builder| request.method(Method::POST).header(CONTENT_TYPE, "application/json");
    let answer = site.server.ask("search", head, body.into()).await.map_err(|e| Refusal::unreachable(&e))?;
    if !answer.status().is_success() {
        return Ok(passed_on(answer));
    }
    let strange = |e| Refusal(StatusCode::BAD_GATEWAY, format!("the server's answer cannot be understood: {e}"));
    let found: SearchResponse = serde_json::from_slice(answer.body()).map_err(strange)?;
    let here = |found: Match| FoundHere { here: paths.here(&found.path), found };
    let matches = found.matches.into_iter().map(here).collect();
    let (num_images, seconds, warning) = (found.num_images, found.seconds, found.warning);
    Ok(Json(Found { num_images, seconds, warning, matches }).into_response())
}

/// What a thumbnail is asked for with; whether the index has the picture is the server's to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thumbnail {
    #[serde(rename = "path")]
    _path: String,
    #[serde(rename = "height")]
    _height: u32,
}

/// What a picture is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Picture {
    #[serde(rename = "path")]
    _path: String,
    #[serde(rename = "size")]
    _size: u32,
}

async fn thumbnail(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    image::<Thumbnail>(&site, "thumbnail", &uri, &headers).await
}

async fn picture(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    image::<Picture>(&site, "picture", &uri, &headers).await
}

/// Passes on what was asked once it is known to be of the shape `Q`.
async fn image<Q: DeserializeOwned>(
    site: &Site,
    route: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    Query::<Q>::try_from_uri(uri).map_err(|e| Refusal(e.status(), e.body_text()))?;
    let route = format!("{route}?{}", uri.query().unwrap_or_default());
    let head = |request: Builder| match headers.get(IF_NONE_MATCH) {
        Some(tags) => request.header(IF_NONE_MATCH, tags),
        None => request,
    };
    let answer = site.server.ask(&route, head, Bytes::new()).await.map_err(|e| Refusal::unreachable(&e))?;
    Ok(passed_on(answer))
}

/// An answer of the server with those of its headers that say what it is and how long it holds.
fn passed_on(answer: hyper::Response<Bytes>) -> Response {
    let (mut head, body) = answer.into_parts();
    let mut response = (head.status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    for name in [CONTENT_TYPE, CACHE_CONTROL, ETAG] {
        if let Some(value) = head.headers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
