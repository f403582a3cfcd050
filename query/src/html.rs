//! A contact sheet: one page that holds its pictures and needs nothing else, dark or light as the reader has it.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::page::{Draft, cannot, escape};
use crate::row::Row;
use crate::session::Session;
use crate::show::percent;

/// The height in pixels at which pictures are kept.
const HEIGHT: u32 = 240;

/// What a path in an address may hold as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }
body { margin: 1rem; color: light-dark(#1a1a1a, #e8e8e8); background: light-dark(#fff, #161616) }
h1 { font-size: 1.3rem; overflow-wrap: anywhere }
p, small { color: light-dark(#555, #aaa) }
ol { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; list-style: none }
li { flex: 1 1 15rem; max-width: 26rem; min-width: 0 }
a { color: inherit; text-decoration: none; display: block }
a:hover span, a:focus span { text-decoration: underline }
img, i { display: block; width: 100%; height: 12rem; object-fit: contain; background: light-dark(#eee, #262626) }
span, small { display: block; overflow-wrap: anywhere }
</style>
"#;

/// Writes the page; how many of its pictures could not be had, and why the first.
pub async fn write(
    file: &Path,
    title: &str,
    summary: &str,
    rows: &[Row],
    session: &mut Session,
) -> Result<Option<String>> {
    let mut draft = Draft::begin(file)?;
    let missing = page(&mut draft, title, summary, rows, session).await.with_context(|| cannot(file))?;
    draft.finish()?;
    Ok(missing)
}

async fn page(
    out: &mut impl Write,
    title: &str,
    summary: &str,
    rows: &[Row],
    session: &mut Session,
) -> Result<Option<String>> {
    let (title, summary) = (escape(title), escape(summary));
    writeln!(out, "{HEAD}<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{summary}</p>\n<ol>")?;
    let (mut missing, mut first) = (0, None);
    for row in rows {
        // One at a time: of a hundred thousand no more than one is in memory.
        let jpeg = session.thumbnail(&row.canonical, HEIGHT).await;
        out.write_all(item(row, jpeg.as_deref().ok()).as_bytes())?;
        if let Err(e) = jpeg {
            missing += 1;
            first.get_or_insert(e);
        }
    }
    writeln!(out, "</ol>\n</body>\n</html>")?;
    Ok(first.map(|e| format!("{missing} of {} pictures are not on the page; the first: {e:#}", rows.len())))
}

fn item(row: &Row, jpeg: Option<&[u8]>) -> String {
    let name = escape(row.path.rsplit('/').next().unwrap_or_default());
    let picture = match jpeg {
        Some(jpeg) => {
            format!(r#"<img loading="lazy" alt="{name}" src="data:image/jpeg;base64,{}">"#, STANDARD.encode(jpeg))
        }
        None => "<i></i>".to_owned(),
    };
    let known = &row.facts;
    let facts = [
        format!("above {} %", percent(row.percentile)),
        known.day().to_owned(),
        known.pixels(),
        known.size(),
        row.alike(),
    ];
    let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    format!(
        "<li><a href=\"file://{}\" title=\"{}\">{picture}<span>{}. {name}</span></a><small>{:.4} · {}</small></li>\n",
        utf8_percent_encode(&row.path, PATH),
        escape(&row.path),
        row.rank,
        row.score,
        facts.join(" · ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    #[test]
    fn a_name_is_text_and_a_link_leads_to_its_file() {
        let row = row(2, "/nas/<b>&\"'\u{202e}\n#?%20 ü.jpg");
        let text = item(&row, Some(b"jpeg"));
        assert!(text.contains("&lt;b&gt;&amp;&quot;&#39;\\u{202e}\\n#?%20 ü.jpg</span>"), "{text}");
        assert!(text.contains(r#"href="file:///nas/%3Cb%3E%26%22%27%E2%80%AE%0A%23%3F%2520%20%C3%BC.jpg""#), "{text}");
        assert!(text.contains("src=\"data:image/jpeg;base64,anBlZw==\""), "{text}");
        assert!(text.contains("above 99.98 % · 2019-07-13 · 4032x3024 · 2.4 MB · +1 alike"), "{text}");
        assert!(!item(&row, None).contains("<img"));
    }
}
