//! The whole collection as a map: one page that holds its places, their names and some of its pictures, and needs nothing
//! else.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::map::{MapPoint, MapRequest, MapResponse};
use protocol::{absolute, note};
use serde_json::json;

use crate::open;
use crate::page::{Draft, cannot, escape};
use crate::session::Session;
use crate::show::counted;
use crate::tell::patiently;

/// Pictures that the page holds, in all and of one cluster at least.
const PICTURES: usize = 300;
const OF_EACH: usize = 4;
/// Their height in pixels.
const HEIGHT: u32 = 96;

/// The page: a text, with what comes in between the parts.
const PAGE: &str = include_str!("../web/map.html");
const STYLE: &str = include_str!("../web/map.css");
const SCRIPT: &str = include_str!("../web/map.js");

/// Writes the map into `file`, says where, and opens it if that is wanted.
pub async fn run(file: &Path, open: bool, mut session: Session) -> Result<()> {
    let draft = Draft::begin(file)?;
    let waiting = "drawing the map; of many pictures that takes minutes...";
    let map = patiently(waiting, session.map(&MapRequest::default())).await?;
    if let Some(warning) = &map.warning {
        note(&format!("query: {warning}"));
    }
    let shown = shown(&map);
    let (pictures, missing) = patiently("fetching its pictures...", pictures(&map, &shown, &mut session)).await;
    if let Some(missing) = missing {
        note(&format!("query: {missing}"));
    }
    let summary = summary(&map);
    write(draft, &map, &pictures, &summary, &session).with_context(|| cannot(file))?;
    note(&summary);
    note(&format!("map: {}", file.display()));
    if open {
        let whole = absolute(file)?;
        open::open(whole.to_str().context("the page's name is not UTF-8, it cannot be opened")?).await?;
    }
    Ok(())
}

fn summary(map: &MapResponse) -> String {
    let (points, all) = (map.points.len() as u64, counted(map.num_images, "picture", "pictures"));
    let clusters = counted(map.clusters.len() as u64, "cluster", "clusters");
    if points == map.num_images {
        format!("{all} in {clusters}")
    } else {
        format!("a sample of {} {all} in {clusters}", counted(points, "of", "of"))
    }
}

/// The points whose pictures the page holds, the most important first: of each cluster one from its middle, then more from
/// its middle to its edge; of a large cluster more.
fn shown(map: &MapResponse) -> Vec<usize> {
    let mut of_cluster: Vec<Vec<usize>> = vec![Vec::new(); map.clusters.len()];
    for (i, point) in map.points.iter().enumerate() {
        of_cluster[point.cluster].push(i);
    }
    let away = |i: usize, point: &MapPoint| {
        let middle = &map.clusters[i];
        (point.x - middle.x).hypot(point.y - middle.y)
    };
    let left = PICTURES.saturating_sub(OF_EACH * map.clusters.len());
    let mut picked = Vec::new();
    for (cluster, mut points) in of_cluster.into_iter().enumerate() {
        points.sort_by(|a, b| away(cluster, &map.points[*a]).total_cmp(&away(cluster, &map.points[*b])));
        let count = (OF_EACH + left * points.len() / map.points.len()).min(points.len());
        picked.extend((0..count).map(|n| (n, points[n * points.len() / count])));
    }
    picked.sort_by_key(|(n, _)| *n);
    picked.into_iter().map(|(_, point)| point).take(PICTURES).collect()
}

/// The pictures of some points, in base64, and how many could not be had, and why the first.
async fn pictures(map: &MapResponse, shown: &[usize], session: &mut Session) -> (Vec<(usize, String)>, Option<String>) {
    let (mut pictures, mut first) = (Vec::new(), None);
    for &point in shown {
        match session.thumbnail(&map.points[point].path, HEIGHT).await {
            Ok(jpeg) => pictures.push((point, STANDARD.encode(jpeg))),
            Err(e) => drop(first.get_or_insert(e)),
        }
    }
    let missing = shown.len() - pictures.len();
    let told = first.map(|e| format!("{missing} of {} pictures are not on the page; the first: {e:#}", shown.len()));
    (pictures, told)
}

fn write(
    mut draft: Draft,
    map: &MapResponse,
    pictures: &[(usize, String)],
    summary: &str,
    session: &Session,
) -> Result<()> {
    let paths = session.paths();
    let points: Vec<_> = map.points.iter().map(|p| json!([paths.here(&p.path), p.x, p.y, p.cluster])).collect();
    let data = json!({ "points": points, "clusters": map.clusters, "pictures": pictures });
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).context("this machine has no random numbers")?;
    let title = format!("Map of {}", paths.here(&session.opened.root));
    draft.write_all(page(&title, summary, &STANDARD.encode(nonce), &data.to_string()).as_bytes())?;
    draft.finish()
}

/// Fills in the page. Of its scripts only those run that know the `nonce`, which no file's name can.
fn page(title: &str, summary: &str, nonce: &str, data: &str) -> String {
    // In a script block only this sign could end it.
    let data = data.replace('<', "\\u003c");
    let (title, summary) = (escape(title), escape(summary));
    let parts = [
        ("NONCE", nonce),
        ("TITLE", &title),
        ("SUMMARY", &summary),
        ("STYLE", STYLE),
        ("SCRIPT", SCRIPT),
        ("DATA", &data),
    ];
    let mut page = String::with_capacity(data.len() + (1 << 16));
    let mut rest = PAGE;
    // What was put in is not looked at again.
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the page's braces are closed");
        let (_, part) = parts.iter().find(|(known, _)| *known == name).expect("the page's parts are known");
        page += before;
        page += part;
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use protocol::map::MapCluster;

    use super::*;

    fn map(sizes: &[usize]) -> MapResponse {
        let cluster = |(i, &count): (usize, &usize)| MapCluster { words: vec![], x: i as f32, y: 0.0, count };
        let points = |(cluster, &count): (usize, &usize)| {
            (0..count).map(move |n| {
                let x = cluster as f32 + 0.001 * (count - n - 1) as f32;
                MapPoint { path: format!("/nas/{cluster}/{n}.jpg"), x, y: 0.0, cluster }
            })
        };
        MapResponse {
            generation: 1,
            num_images: sizes.iter().sum::<usize>() as u64,
            points: sizes.iter().enumerate().flat_map(points).collect(),
            clusters: sizes.iter().enumerate().map(cluster).collect(),
            seconds: 0.0,
            warning: None,
        }
    }

    #[test]
    fn pictures_are_of_all_clusters_and_the_middles_come_first() {
        let large = map(&[5000, 900, 40, 2]);
        let picked = shown(&large);
        assert!(picked.len() <= PICTURES && picked.len() > PICTURES / 2, "{}", picked.len());
        let middles: Vec<&str> = picked[..4].iter().map(|i| large.points[*i].path.as_str()).collect();
        assert_eq!(middles, ["/nas/0/4999.jpg", "/nas/1/899.jpg", "/nas/2/39.jpg", "/nas/3/1.jpg"]);
        let of = |cluster| picked.iter().filter(|i| large.points[**i].cluster == cluster).count();
        assert!(of(0) > of(1) && of(1) > of(2) && of(2) >= OF_EACH && of(3) == 2);
        let small = map(&[20, 3, 1]);
        let mut all = shown(&small);
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>(), "of a few all are shown");
        assert!(shown(&map(&[])).is_empty());
    }

    #[test]
    fn a_sample_is_said_to_be_one() {
        let mut map = map(&[4, 2]);
        assert_eq!(summary(&map), "6 pictures in 2 clusters");
        map.num_images = 1_234_567;
        assert_eq!(summary(&map), "a sample of 6 of 1,234,567 pictures in 2 clusters");
    }

    #[test]
    fn what_is_put_in_is_data_and_not_looked_at_again() {
        let page = page("{{DATA}}</title><b>", "", "Nonce", r#"{"points":[["</script><!--{{TITLE}}"]]}"#);
        assert!(page.contains("<title>{{DATA}}&lt;/title&gt;&lt;b&gt;</title>"));
        assert!(page.contains(r#"{"points":[["\u003c/script>\u003c!--{{TITLE}}"]]}"#));
        assert!(page.contains("script-src 'nonce-Nonce'") && page.contains("<script nonce=\"Nonce\">"));
        assert_eq!(page.matches("</script>").count(), 2);
    }
}
