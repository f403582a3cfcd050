//! Pictures in the table, where the terminal can show them. What is written moves nothing else: the terminal's cursor is
//! put where the text belongs, and lines are made before they are drawn on.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::plain;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::args::Pictures;
use crate::row::Row;
use crate::show::{Screen, end_of, percent};
use crate::sixel::Cell;

/// The height in pixels at which pictures are asked for.
pub const HEIGHT: u32 = 160;
/// The room for a picture in the terminal's cells.
const LINES: usize = 4;
const COLUMNS: usize = 14;
/// A cell is about twice as high as wide.
const CELL_RATIO: usize = 2;
/// What the terminal takes of a picture at once.
const CHUNK: usize = 4096;

/// How a terminal takes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
    Kitty,
    /// <https://iterm2.com/documentation-images.html>
    Iterm,
    /// <https://vt100.net/docs/vt3xx-gp/chapter14.html>, for a terminal with such cells.
    Sixel(Cell),
}

/// What this terminal surely takes, told by what it puts into the environment, and by its cells for sixels, which are drawn
/// for them. Within tmux or screen none is sure.
pub fn protocol(
    wanted: Option<Pictures>,
    cell: Option<Cell>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Protocol> {
    let term = variable("TERM").unwrap_or_default();
    match wanted {
        Some(Pictures::Kitty) => return Some(Protocol::Kitty),
        Some(Pictures::Iterm) => return Some(Protocol::Iterm),
        Some(Pictures::Sixel) => return Some(Protocol::Sixel(cell.unwrap_or_default())),
        Some(Pictures::None) => return None,
        Some(Pictures::Auto) | None => {}
    }
    if variable("TMUX").is_some() || ["screen", "tmux", "dumb"].iter().any(|kind| term.starts_with(kind)) {
        return None;
    }
    match (term.as_str(), variable("TERM_PROGRAM").as_deref()) {
        ("xterm-kitty" | "xterm-ghostty", _) | (_, Some("ghostty")) => Some(Protocol::Kitty),
        (_, Some("iTerm.app" | "WezTerm" | "mintty")) => Some(Protocol::Iterm),
        ("foot" | "foot-extra" | "mlterm" | "mlterm-256color", _) => cell.map(Protocol::Sixel),
        _ => None,
    }
}

/// One match with its picture at the left; without one there is only room for it.
pub fn entry(row: &Row, jpeg: Option<&[u8]>, protocol: Protocol, screen: Screen) -> String {
    let picture = jpeg.and_then(|jpeg| drawn(jpeg, protocol).ok()).unwrap_or_default();
    let (dim, plainly) = screen.dim();
    let room = screen.width.saturating_sub(COLUMNS + 3).max(12);
    let path = plain(&row.path);
    let facts = [row.facts.day().to_owned(), row.facts.pixels(), row.facts.size(), row.alike()];
    let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    let lines = [
        format!("{dim}{}{plainly}  {:.4}  {dim}above {} %{plainly}", row.rank, row.score, percent(row.percentile)),
        end_of(&path, room).into_owned(),
        format!("{dim}{}{plainly}", end_of(&facts.join("  "), room)),
        String::new(),
    ];
    let lines: String = lines.iter().map(|line| format!("\x1b[{}C{line}\n", COLUMNS + 2)).collect();
    // Lines are made first, so that nothing scrolls between saving the cursor's place and coming back.
    format!("{}\x1b[{LINES}A\x1b7{picture}\x1b8{lines}", "\n".repeat(LINES))
}

fn drawn(jpeg: &[u8], protocol: Protocol) -> Result<String> {
    match protocol {
        Protocol::Iterm => Ok(format!(
            "\x1b]1337;File=inline=1;size={};width={COLUMNS};height={LINES};preserveAspectRatio=1:{}\x07",
            jpeg.len(),
            STANDARD.encode(jpeg)
        )),
        Protocol::Kitty => kitty(jpeg),
        Protocol::Sixel(cell) => {
            let (rgb, size) = pixels(jpeg)?;
            cell.sixels(&rgb, size, (COLUMNS, LINES))
        }
    }
}

/// A JPEG's pixels, rgb, and how many there are across and down.
fn pixels(jpeg: &[u8]) -> Result<(Vec<u8>, (usize, usize))> {
    let options = DecoderOptions::default().set_max_width(4096).set_max_height(4096);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let rgb = decoder.decode()?;
    Ok((rgb, decoder.dimensions().context("the picture has no size")?))
}

/// kitty takes PNG or pixels, but no JPEG.
fn kitty(jpeg: &[u8]) -> Result<String> {
    let (rgb, (width, height)) = pixels(jpeg)?;
    let (columns, lines) = cells(width, height);
    let data = STANDARD.encode(&rgb);
    let pieces: Vec<&[u8]> = data.as_bytes().chunks(CHUNK).collect();
    let mut text = String::with_capacity(data.len() + pieces.len() * 16);
    for (piece, at) in pieces.iter().zip(1..) {
        let more = u8::from(at < pieces.len());
        text += "\x1b_G";
        if at == 1 {
            text += &format!("a=T,q=2,C=1,f=24,s={width},v={height},c={columns},r={lines},");
        }
        text += &format!("m={more};{}\x1b\\", std::str::from_utf8(piece)?);
    }
    Ok(text)
}

/// The cells of a picture of `width` x `height` pixels that fills the room in one direction.
fn cells(width: usize, height: usize) -> (usize, usize) {
    let columns = (LINES * CELL_RATIO * width).div_ceil(height.max(1)).max(1);
    if columns <= COLUMNS {
        return (columns, LINES);
    }
    (COLUMNS, (COLUMNS * height).div_ceil(CELL_RATIO * width.max(1)).clamp(1, LINES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    const CELL: Cell = Cell { width: 9, height: 18 };

    #[test]
    fn pictures_are_shown_only_where_the_terminal_surely_can() {
        let terminal = |term: &str, program: &str, tmux: bool| {
            let variable = |name: &str| match name {
                "TERM" => Some(term.to_owned()),
                "TERM_PROGRAM" => Some(program.to_owned()),
                "TMUX" => tmux.then(String::new),
                _ => None,
            };
            protocol(None, Some(CELL), variable)
        };
        assert_eq!(terminal("xterm-kitty", "", false), Some(Protocol::Kitty));
        assert_eq!(terminal("xterm-256color", "iTerm.app", false), Some(Protocol::Iterm));
        assert_eq!(terminal("foot", "", false), Some(Protocol::Sixel(CELL)));
        assert_eq!(protocol(None, None, |name| (name == "TERM").then(|| "foot".to_owned())), None);
        assert_eq!(protocol(Some(Pictures::Sixel), None, |_| None), Some(Protocol::Sixel(Cell::default())));
        for (term, program, tmux) in [
            ("foot", "", true),
            ("xterm-256color", "Apple_Terminal", false),
            ("xterm-kitty", "", true),
            ("tmux-256color", "iTerm.app", false),
            ("dumb", "WezTerm", false),
            ("", "", false),
        ] {
            assert_eq!(terminal(term, program, tmux), None);
        }
        assert_eq!(protocol(Some(Pictures::Kitty), None, |_| None), Some(Protocol::Kitty));
        assert_eq!(protocol(Some(Pictures::None), None, |_| Some("xterm-kitty".to_owned())), None);
    }

    #[test]
    fn a_picture_keeps_its_shape_in_its_room() {
        assert_eq!(cells(400, 300), (11, 4));
        assert_eq!(cells(300, 400), (6, 4));
        assert_eq!(cells(4000, 100), (14, 1));
        assert_eq!(cells(1, 4000), (1, 4));
        assert_eq!(cells(0, 0), (1, 4));
    }

    #[test]
    fn an_entry_takes_its_lines_and_no_more() {
        let screen = Screen { width: 60, colour: false };
        let hostile = row(1, "/nas/\x1b[2J\n.jpg");
        for jpeg in [None, Some(&b"no jpeg"[..])] {
            let text = entry(&hostile, jpeg, Protocol::Kitty, screen);
            assert_eq!(text.matches('\n').count(), 2 * LINES);
            assert!(text.contains("/nas/\\u{1b}[2J\\n.jpg") && !text.contains("\x1b_G"), "{text:?}");
        }
        let text = entry(&hostile, Some(b"jpeg"), Protocol::Iterm, screen);
        assert!(text.contains("\x1b]1337;File=inline=1;size=4;width=14;height=4;preserveAspectRatio=1:anBlZw==\x07"));
    }
}
