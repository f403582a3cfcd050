//! The routes of [`protocol::search`]: JSON in, JSON out, also for errors.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use index::Duplicates;
use protocol::IndexMeta;
use protocol::search::{
    CopyRequest, CopyResponse, Duplicate, DuplicateGroup, DuplicatesRequest, DuplicatesResponse, MAX_TOP_K, OpenIndex,
    OpenedIndex, SearchRequest, SearchResponse, Status,
};
use tokio::sync::Notify;

use crate::activity::Activity;
use crate::copy;
use crate::indexes::Indexes;
use crate::log::Log;
use crate::refusal::Refusal;

/// A question is words; no body of one comes near this.
const QUESTION_BYTES: usize = 1 << 20;
/// A copy request may hold [`MAX_TOP_K`] paths.
const COPY_BYTES: usize = 64 << 20;

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refusal>;

/// What the routes work with.
#[derive(Clone)]
pub struct App {
    pub indexes: Arc<Indexes>,
    pub log: Arc<Log>,
    pub activity: Arc<Activity>,
    pub stop: Arc<Notify>,
}

/// All routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/indexes", post(open))
        .route("/v1/indexes/{name}/search", post(search))
        .route("/v1/indexes/{name}/duplicates", post(duplicates))
        .route("/v1/indexes/{name}/copy", post(copy_matches).layer(DefaultBodyLimit::max(COPY_BYTES)))
        .route("/v1/stop", post(stop))
        .fallback(async || Refusal::absent("no such route; /v1/status is one"))
        .method_not_allowed_fallback(async || Refusal::wrong_method("this route takes another method"))
        .layer(DefaultBodyLimit::max(QUESTION_BYTES))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let _busy = app.activity.begin();
    let what = format!("{} {:?}", request.method(), request.uri().path());
    let response = next.run(request).await;
    if !response.status().is_success() {
        app.log.line(&format!("{what}: {}", response.status()));
    }
    response
}

async fn status(State(app): State<App>) -> Json<Status> {
    let indexes = app.indexes.all();
    Json(Status { version: protocol::VERSION.to_owned(), pid: std::process::id(), indexes })
}

async fn open(State(app): State<App>, body: Body<OpenIndex>) -> Answer<OpenedIndex> {
    let Json(request) = body?;
    Ok(Json(app.indexes.open(request).await?))
}

async fn search(State(app): State<App>, Path(name): Path<String>, body: Body<SearchRequest>) -> Answer<SearchResponse> {
    let Json(request) = body?;
    let began = Instant::now();
    if !(1..=MAX_TOP_K).contains(&request.top_k) {
        return Err(Refusal::bad(format!("top_k is {}; it must be from 1 to {MAX_TOP_K}", request.top_k)));
    }
    if let Some(least) = request.min_percentile.filter(|least| !(0.0..=100.0).contains(least)) {
        return Err(Refusal::bad(format!("min_percentile is {least}; it must be from 0 to 100")));
    }
    let (loaded, warning) = app.indexes.current(&name).await?;
    let warning = warning.or_else(|| loaded.warning());
    let meta = loaded.meta().clone();
    let matches = loaded.answer(request).await?;
    Ok(Json(SearchResponse {
        generation: meta.generation,
        num_images: meta.num_images,
        matches,
        seconds: began.elapsed().as_secs_f64(),
        warning,
    }))
}

async fn duplicates(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Body<DuplicatesRequest>,
) -> Answer<DuplicatesResponse> {
    let Json(request) = body?;
    let began = Instant::now();
    for (what, number) in [("max_groups", request.max_groups), ("max_pictures", request.max_pictures)] {
        if !(1..=MAX_TOP_K).contains(&number) {
            return Err(Refusal::bad(format!("{what} is {number}; it must be from 1 to {MAX_TOP_K}")));
        }
    }
    let (loaded, warning) = app.indexes.current(&name).await?;
    let warning = warning.or_else(|| loaded.warning());
    let IndexMeta { generation, num_images, .. } = *loaded.meta();
    let Duplicates { num_groups, num_pictures, groups } = loaded.duplicates(request).await?;
    let groups = groups.into_iter().map(|group| DuplicateGroup {
        count: group.count,
        pictures: group.pictures.into_iter().map(|(path, score)| Duplicate { path, score }).collect(),
    });
    Ok(Json(DuplicatesResponse {
        generation,
        num_images,
        num_groups,
        num_pictures,
        groups: groups.collect(),
        seconds: began.elapsed().as_secs_f64(),
        warning,
    }))
}

async fn copy_matches(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Body<CopyRequest>,
) -> Answer<CopyResponse> {
    let Json(request) = body?;
    let root = app.indexes.get(&name)?.meta().root.clone();
    let copies = tokio::task::spawn_blocking(move || copy::copy_matches(&request, &root));
    let copies = copies.await.map_err(|e| Refusal::failed(&e))??;
    Ok(Json(CopyResponse { copies }))
}

async fn stop(State(app): State<App>) -> Json<serde_json::Value> {
    app.stop.notify_one();
    Json(serde_json::json!({ "stopping": true }))
}
