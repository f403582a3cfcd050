//! The gallery and the map in a real browser, over real indexes. One browser does all checks, because starting one takes longest; each
//! test here is one of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use e2e::{Lab, finish, python};
use index::{MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{Embedding, FileFacts, ImagePath, IndexMeta, IndexPrefix, PartMeta};
use serde_json::{Value, json};

/// Rows of the large index.
const MANY: usize = 20_000;

/// What was wrong with each check.
fn report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let lab = Lab::new();
        draw(&lab);
        assert_eq!(lab.index(&[]).code, 0);
        let many = make_many(&lab);
        let map = lab.path("map.html");
        assert_eq!(lab.query(&["--map", map.to_str().unwrap()]).code, 0);
        let pages = [Page::of(&lab, &lab.prefix()), Page::of(&lab, &many)];
        let socket = lab.path(format!("run/imagefleet/server-{}.sock", env!("CARGO_PKG_VERSION")));
        let told = json!({ "link": pages[0].link, "many": pages[1].link, "socket": socket, "pictures": lab.images(),
            "map": format!("file://{}", map.display()), "chromium": chromium() });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/browser.py");
        let said = finish(lab.in_world(Command::new(python())).arg(script).arg(told.to_string()));
        assert_eq!(said.code, 0, "{}", said.err);
        serde_json::from_str(&said.out).expect("the script prints JSON")
    })
}

/// Debian's, or one that IMAGEFLEET_CHROMIUM names.
fn chromium() -> PathBuf {
    let chromium = std::env::var_os("IMAGEFLEET_CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from);
    assert!(chromium.is_file(), "{} is missing; run: make setup", chromium.display());
    chromium
}

/// Demo pictures, some under names that would do harm if they were ever markup.
fn draw(lab: &Lab) {
    let said = lab.run(
        "draw-demo-pictures",
        [lab.images().to_str().unwrap(), "--count", "240", "--seed", "2026", "--exactly", "yellow car=16"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let pictures = fs::read_dir(lab.images()).unwrap().flatten().map(|entry| entry.path());
    let sun = pictures.filter(|path| path.to_string_lossy().contains("/purple_sun")).min().expect("one is drawn");
    for name in ["<img src=x onerror=pwned=1>", "\"><script>pwned=1<!--", "<b onmouseover='pwned=1'>&lt;b&amp;"] {
        fs::copy(&sun, lab.images().join(format!("{name}.jpg"))).unwrap();
    }
}

/// An index of many rows: the vectors of the first again and again, each a little aside, beside paths that lead nowhere.
fn make_many(lab: &Lab) -> PathBuf {
    let prefix = IndexPrefix::new(lab.path("many"));
    let meta: IndexMeta = serde_json::from_value(lab.meta()).unwrap();
    let rows = lab.rows();
    let mut random = fastrand::Rng::with_seed(1);
    let row = |i: usize| {
        let (path, vector) = &rows[i % rows.len()];
        let aside = vector.iter().map(|v| v + 0.002 * (random.f32() - 0.5)).collect();
        Row {
            path: ImagePath::new(format!("{i:06}/{path}")).unwrap(),
            embedding: Embedding::normalise(aside).unwrap(),
            file: FileFacts { size_bytes: 1, mtime_ns: 1, ..FileFacts::default() },
            content_hash: String::new(),
        }
    };
    let rows: Vec<Row> = (0..MANY).map(row).collect();
    let part = PartMeta {
        format_version: protocol::FORMAT_VERSION,
        name: "many".into(),
        root: meta.root,
        model: meta.model,
        host: "here".into(),
        rows: 0,
        checksum: String::new(),
        failures: Vec::new(),
    };
    let part = publish_part(&prefix, part, &rows).unwrap();
    let sources = Sources::Parts(vec![PartRef { name: part.name, rows: part.rows, checksum: part.checksum }]);
    let request =
        MergeRequest { prefix: &prefix, run: None, sources, fresh: true, wait_s: 0.0, progress: &mut |_| Ok(()) };
    merge(request).unwrap();
    prefix.dir().to_owned()
}

/// `query --web`, until dropped.
struct Page {
    query: Child,
    link: String,
}

impl Page {
    fn of(lab: &Lab, prefix: &Path) -> Self {
        let mut command = lab.command("query");
        command.args(["--web", "--no-open", "--hosts"]).arg(lab.path("hosts")).arg("--index-prefix").arg(prefix);
        let mut query = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("query can be started");
        let mut link = String::new();
        BufReader::new(query.stdout.take().expect("it is piped")).read_line(&mut link).expect("a pipe can be read");
        assert!(link.starts_with("http://127.0.0.1:"), "{link:?}");
        Self { query, link: link.trim_end().to_owned() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = (self.query.kill(), self.query.wait());
    }
}

/// Makes a test of each check; one that is missing here, or there, fails.
macro_rules! checks {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            match &report()[stringify!($name)] {
                Value::Null if report().get(stringify!($name)).is_some() => {}
                wrong => panic!("{}", wrong.as_str().unwrap_or("the check was not made")),
            }
        })*

        #[test]
        fn every_check_of_the_browser_is_a_test() {
            let mut named = vec![$(stringify!($name)),*];
            named.sort();
            let mut made: Vec<_> = report().as_object().unwrap().keys().collect();
            made.sort();
            assert_eq!(made, named);
        }
    };
}

checks! {
    a_keyboard_alone_finds_a_yellow_car_opens_it_large_asks_for_more_like_it_and_copies_its_path,
    arrows_enter_and_escape_lead_everywhere_and_back,
    an_answer_that_comes_late_is_dropped,
    back_leads_to_the_question_before_and_the_address_holds_the_question,
    a_dropped_pasted_or_chosen_picture_is_asked_for,
    a_dropped_picture_finds_itself_and_pictures_are_shown,
    filters_are_part_of_the_question_and_can_be_cleared,
    twenty_thousand_matches_scroll_with_few_of_them_in_the_document,
    names_with_markup_are_shown_as_text,
    axe_finds_nothing_wrong_in_any_state,
    the_keyboard_is_always_seen,
    a_server_that_ends_between_two_questions_is_started_again_unseen,
    a_hostile_page_can_neither_ask_nor_read_nor_learn_the_token,
    a_keyboard_alone_goes_over_the_map_and_copies_a_path,
    a_pointer_finds_pictures_on_the_map_and_the_list_shows_clusters,
    axe_finds_nothing_wrong_with_the_map_which_fits_a_phone,
}
