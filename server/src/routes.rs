//! The routes of [`protocol::search`]: JSON in, JSON or a JPEG out, JSON for errors. Each stands beside its description, and
//! there is no other way to add one.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use index::Duplicates;
use protocol::IndexMeta;
use protocol::map::{MAX_POINTS, MapRequest, MapResponse};
use protocol::search::{
    Answered, BatchRequest, BatchResponse, CopyRequest, CopyResponse, DuplicatesRequest, DuplicatesResponse, MAX_BATCH,
    MAX_TOP_K, OpenIndex, OpenedIndex, SearchRequest, SearchResponse, Status,
};
use protocol::stats::Stats;
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::activity::Activity;
use crate::copy;
use crate::indexes::{Indexes, Standing};
use crate::log::Log;
use crate::map::Map;
use crate::pictures::{Size, Studio};
use crate::question;
use crate::refusal::{BodyRefused, Refusal, Refused};
use crate::request::{Asked, Body, LARGEST_MIB, Name};

/// Nothing but questions and lists of paths comes near this.
const SMALL_BYTES: usize = 1 << 20;

type Answer<T> = Result<Json<T>, Refusal>;

/// What the routes work with.
#[derive(Clone)]
pub struct App {
    pub indexes: Arc<Indexes>,
    pub log: Arc<Log>,
    pub activity: Arc<Activity>,
    pub stop: Arc<Notify>,
    /// For large bodies, in MiB.
    pub room: Arc<Semaphore>,
    pub studio: Arc<Studio>,
}

/// All routes.
pub fn router(app: App) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(async || Refusal::absent("no such route; /v1/openapi.json lists all"))
        .method_not_allowed_fallback(async || Refusal::wrong_method("this route takes another method"))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Imagefleet",
        description = "Finds pictures by words and by pictures. Served on a Unix socket of one person on one machine.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(protocol::search::ApiError))
)]
struct Description;

fn described() -> OpenApiRouter<App> {
    let small = OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(duplicates))
        .routes(routes!(map))
        .layer(DefaultBodyLimit::max(SMALL_BYTES));
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(search))
        .routes(routes!(search_batch))
        .routes(routes!(copy_matches))
        .layer(DefaultBodyLimit::max(LARGEST_MIB << 20))
        .routes(routes!(status))
        .routes(routes!(thumbnail))
        .routes(routes!(picture))
        .routes(routes!(stats))
        .routes(routes!(stop))
        .routes(routes!(document))
        .merge(small)
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let _busy = app.activity.begin();
    let what = format!("{} {:?}", request.method(), request.uri().path());
    let response = next.run(request).await;
    if !response.status().is_success() && response.status() != StatusCode::NOT_MODIFIED {
        app.log.line(&format!("{what}: {}", response.status()));
    }
    response
}

/// The state of the server
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "It is well", body = Status)))]
async fn status(State(app): State<App>) -> Json<Status> {
    let indexes = app.indexes.all();
    Json(Status { version: protocol::VERSION.to_owned(), pid: std::process::id(), indexes })
}

/// Load an index, or find it loaded
#[utoipa::path(
    post,
    path = "/v1/indexes",
    request_body = OpenIndex,
    responses((status = 200, description = "It is loaded", body = OpenedIndex), Refused, BodyRefused)
)]
async fn open(State(app): State<App>, body: Body<OpenIndex>) -> Answer<OpenedIndex> {
    Ok(Json(app.indexes.open(body.value).await?))
}

/// Ask a question
#[utoipa::path(
    post,
    path = "/v1/indexes/{name}/search",
    request_body = SearchRequest,
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "The matches", body = SearchResponse), Refused, BodyRefused)
)]
async fn search(State(app): State<App>, Name(name): Name, body: Body<SearchRequest>) -> Answer<SearchResponse> {
    question::check(&body.value)?;
    let standing = app.indexes.current(&name).await?;
    Ok(Json(answer(standing, body.value).await?))
}

/// Ask several questions
#[utoipa::path(
    post,
    path = "/v1/indexes/{name}/search/batch",
    request_body = BatchRequest,
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "An answer to each, in order", body = BatchResponse), Refused, BodyRefused)
)]
async fn search_batch(State(app): State<App>, Name(name): Name, body: Body<BatchRequest>) -> Answer<BatchResponse> {
    let requests = body.value.requests;
    if requests.len() > MAX_BATCH {
        return Err(Refusal::bad(format!("{} questions; at most {MAX_BATCH} are answered at once", requests.len())));
    }
    let matches = requests.iter().fold(0, |sum, request| request.top_k.saturating_add(sum));
    if matches > MAX_TOP_K {
        return Err(Refusal::bad(format!(
            "{matches} matches; at most {MAX_TOP_K} are given at once, top_k of all together"
        )));
    }
    for (request, number) in requests.iter().zip(1..) {
        let refused = |refusal: Refusal| Refusal::bad(format!("question {number}: {}", refusal.error()));
        question::check(request).map_err(refused)?;
    }
    let standing = app.indexes.current(&name).await?;
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match answer(standing.clone(), request).await {
            Ok(answer) => Answered::Answer(answer),
            Err(refusal) => Answered::Error(refusal.error().to_owned()),
        });
    }
    Ok(Json(BatchResponse { answers }))
}

async fn answer((loaded, warning): Standing, request: SearchRequest) -> Result<SearchResponse, Refusal> {
    let began = Instant::now();
    let meta = loaded.meta().clone();
    let matches = loaded.answer(request).await?;
    Ok(SearchResponse {
        generation: meta.generation,
        num_images: meta.num_images,
        matches,
        seconds: began.elapsed().as_secs_f64(),
        warning,
    })
}

/// Group pictures that are nearly the same
#[utoipa::path(
    post,
    path = "/v1/indexes/{name}/duplicates",
    request_body = DuplicatesRequest,
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "The largest groups", body = DuplicatesResponse), Refused, BodyRefused)
)]
async fn duplicates(
    State(app): State<App>,
    Name(name): Name,
    body: Body<DuplicatesRequest>,
) -> Answer<DuplicatesResponse> {
    let request = body.value;
    let began = Instant::now();
    for (what, number) in [("max_groups", request.max_groups), ("max_pictures", request.max_pictures)] {
        within(what, number, 1, MAX_TOP_K)?;
    }
    let (loaded, warning) = app.indexes.current(&name).await?;
    let IndexMeta { generation, num_images, .. } = *loaded.meta();
    if let Some(similarity) = request.similarity.filter(|similarity| !(*similarity > 0.0 && *similarity <= 1.0)) {
        return Err(Refusal::bad(format!("similarity is {similarity}; it must be above 0, and 1 at most")));
    }
    let root = app.indexes.root(&name, &loaded)?;
    let Duplicates { similarity, num_groups, num_pictures, groups } = loaded.duplicates(request, root).await?;
    Ok(Json(DuplicatesResponse {
        generation,
        num_images,
        similarity,
        num_groups,
        num_pictures,
        groups,
        seconds: began.elapsed().as_secs_f64(),
        warning,
    }))
}

/// Place all pictures on a map, by what they show
#[utoipa::path(
    post,
    path = "/v1/indexes/{name}/map",
    request_body = MapRequest,
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "The map", body = MapResponse), Refused, BodyRefused)
)]
async fn map(State(app): State<App>, Name(name): Name, body: Body<MapRequest>) -> Answer<MapResponse> {
    let began = Instant::now();
    let most = within("max_points", body.value.max_points, 1, MAX_POINTS)?;
    let (loaded, warning) = app.indexes.current(&name).await?;
    let IndexMeta { generation, num_images, .. } = *loaded.meta();
    let Map { points, clusters } = (*loaded.map(most).await?).clone();
    Ok(Json(MapResponse { generation, num_images, points, clusters, seconds: began.elapsed().as_secs_f64(), warning }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ThumbnailQuery {
    /// The picture's canonical path
    path: String,
    /// How many pixels high it may be; it is at most four times wider
    #[param(minimum = 64, maximum = 1024)]
    #[serde(default = "thumbnail_height")]
    height: usize,
}

fn thumbnail_height() -> usize {
    240
}

/// A small version of a picture
#[utoipa::path(
    get,
    path = "/v1/indexes/{name}/thumbnail",
    params(("name" = String, Path, description = "The index, as it was named when it was loaded"), ThumbnailQuery),
    responses(
        (status = 200, description = "The picture, upright", body = [u8], content_type = "image/jpeg"),
        (status = 304, description = "It is as If-None-Match says"),
        Refused
    )
)]
async fn thumbnail(
    State(app): State<App>,
    Name(name): Name,
    Asked(asked): Asked<ThumbnailQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let height = within("height", asked.height, 64, 1024)?;
    show(&app, &name, asked.path, Size::Thumbnail(height), &headers).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PictureQuery {
    /// The picture's canonical path
    path: String,
    /// How many pixels its longer edge may have
    #[param(minimum = 64, maximum = 4096)]
    #[serde(default = "picture_size")]
    size: usize,
}

fn picture_size() -> usize {
    2048
}

/// A large version of a picture
#[utoipa::path(
    get,
    path = "/v1/indexes/{name}/picture",
    params(("name" = String, Path, description = "The index, as it was named when it was loaded"), PictureQuery),
    responses(
        (status = 200, description = "The picture, upright", body = [u8], content_type = "image/jpeg"),
        (status = 304, description = "It is as If-None-Match says"),
        Refused
    )
)]
async fn picture(
    State(app): State<App>,
    Name(name): Name,
    Asked(asked): Asked<PictureQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let size = within("size", asked.size, 64, 4096)?;
    show(&app, &name, asked.path, Size::View(size), &headers).await
}

fn within(what: &str, value: usize, least: usize, most: usize) -> Result<usize, Refusal> {
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => Err(Refusal::bad(format!("{what} is {value}; it must be from {least} to {most}"))),
    }
}

async fn show(app: &App, name: &str, path: String, size: Size, headers: &HeaderMap) -> Result<Response, Refusal> {
    let seen = headers.get(IF_NONE_MATCH).and_then(|tags| Some(tags.to_str().ok()?.to_owned()));
    let gallery = app.indexes.gallery(name).await?;
    let shown = app.studio.show(gallery, path, size, seen).await?;
    // For an hour nobody asks whether the file has changed.
    let headers = [(ETAG, shown.tag.as_str()), (CACHE_CONTROL, "private, max-age=3600")];
    Ok(match shown.jpeg {
        Some(jpeg) => (headers, [(CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        None => (StatusCode::NOT_MODIFIED, headers).into_response(),
    })
}

/// What an index holds, and what its scores mean
#[utoipa::path(
    get,
    path = "/v1/indexes/{name}/stats",
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "Counts, failures, score background, memory", body = Stats), Refused)
)]
async fn stats(State(app): State<App>, Name(name): Name) -> Answer<Stats> {
    let (loaded, warning) = app.indexes.current(&name).await?;
    Ok(Json(Stats { warning, ..loaded.stats().await? }))
}

/// Copy pictures into a folder of the server's host, if the index is trusted
#[utoipa::path(
    post,
    path = "/v1/indexes/{name}/copy",
    request_body = CopyRequest,
    params(("name" = String, Path, description = "The index, as it was named when it was loaded")),
    responses((status = 200, description = "What became of each copy", body = CopyResponse), Refused, BodyRefused)
)]
async fn copy_matches(State(app): State<App>, Name(name): Name, body: Body<CopyRequest>) -> Answer<CopyResponse> {
    let loaded = app.indexes.get(&name)?;
    if !body.value.vouched.index
        && let Some(stranger) = loaded.stranger().await?
    {
        return Ok(Json(CopyResponse { copies: Vec::new(), distrusted: Some(stranger.to_string()) }));
    }
    let copying = tokio::task::spawn_blocking(move || {
        copy::copy_matches(&body.value, &loaded.meta().root, &|path| loaded.holds(path))
    });
    let copies = copying.await.map_err(|e| Refusal::failed(&e))??;
    Ok(Json(CopyResponse { copies, distrusted: None }))
}

/// That the server ends.
#[derive(serde::Serialize, ToSchema)]
struct Stopping {
    stopping: bool,
}

/// End the server
#[utoipa::path(post, path = "/v1/stop", responses((status = 200, description = "It ends", body = Stopping)))]
async fn stop(State(app): State<App>) -> Json<Stopping> {
    app.stop.notify_one();
    Json(Stopping { stopping: true })
}

/// This description
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(described().into_openapi())
}
