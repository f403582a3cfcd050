//! A collection as a map, on which pictures that look alike lie together: `POST /v1/indexes/NAME/map`.

use serde::{Deserialize, Serialize};

/// The most pictures of a map.
pub const MAX_POINTS: usize = 50_000;

/// Asks for a map of the whole collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MapRequest {
    /// How many pictures at most. If there are more, a sample that is spread evenly over the collection stands for all.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 50_000))]
    pub max_points: usize,
}

impl Default for MapRequest {
    fn default() -> Self {
        Self { max_points: MAX_POINTS }
    }
}

/// A map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MapResponse {
    /// The generation that answered.
    pub generation: u64,
    /// Rows in it.
    pub num_images: u64,
    /// The pictures on the map, in the index's order: all, or the sample.
    pub points: Vec<MapPoint>,
    /// Their clusters, the largest first.
    pub clusters: Vec<MapCluster>,
    /// Time in the server. A map that was made before takes none.
    pub seconds: f64,
    /// What the asker should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A picture on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MapPoint {
    /// Canonical path.
    pub path: String,
    /// To the right, from -1 to 1.
    pub x: f32,
    /// Upwards, from -1 to 1.
    pub y: f32,
    /// Its cluster: a place in the list of them, from 0.
    pub cluster: usize,
}

/// Pictures that look alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MapCluster {
    /// What its pictures show more than the collection does, the nearest first; none if no word does. The first one is no
    /// other cluster's first.
    pub words: Vec<String>,
    /// Its middle.
    pub x: f32,
    /// Its middle.
    pub y: f32,
    /// Pictures of it on the map.
    pub count: usize,
}
