//! The parts of a request, each refused in JSON. A large body is only taken in while there is room for it, and one that
//! does not arrive is given up, so that nobody's slowness is felt by others.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use crate::refusal::Refusal;
use crate::routes::App;

/// The most that a question may have, in MiB: 96 MiB of pictures in base64.
pub const LARGEST_MIB: usize = 128;
/// Room for all large bodies that are being worked on, in MiB.
pub const ROOM_MIB: usize = 2 * LARGEST_MIB;
/// How long a body may take to arrive once there is room for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// An index's name in the path.
pub struct Name(pub String);

/// What stands behind the question mark.
pub struct Asked<T>(pub T);

/// A body in JSON. Its room is given back when it is dropped.
pub struct Body<T> {
    pub value: T,
    _room: Option<OwnedSemaphorePermit>,
}

impl FromRequestParts<App> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Path(name) = Path::from_request_parts(parts, app).await.map_err(|e| Refusal::bad(e.body_text()))?;
        Ok(Self(name))
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let Query(asked) = Query::from_request_parts(parts, app).await.map_err(|e| Refusal::bad(e.body_text()))?;
        Ok(Self(asked))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mib = length.map_or(LARGEST_MIB, |length: usize| length.div_ceil(1 << 20)).min(LARGEST_MIB);
        let _room = match mib {
            0 | 1 => None,
            _ => {
                let room = app.room.clone().acquire_many_owned(mib as u32).await;
                Some(room.map_err(|e| Refusal::failed(&e))?)
            }
        };
        let arrived = tokio::time::timeout(PATIENCE, Json::from_request(request, app)).await;
        let Json(value) = arrived.map_err(|_| Refusal::late("the request did not arrive; send it again"))??;
        Ok(Self { value, _room })
    }
}
