//! Writes files with the structure of RAW ones around JPEGs. Sensor data are a stub.

/// What a camera puts beside the sensor's data. For a RAF there is only the large one.
pub struct Previews {
    pub large: Vec<u8>,
    pub small: Vec<u8>,
    pub orientation: u16,
    /// As EXIF has it.
    pub taken: &'static str,
}

impl Previews {
    /// EXIF's own directory.
    fn exif(&self) -> Vec<Entry> {
        vec![Entry::Text(36_867, self.taken)]
    }
}

type Make = fn(&Previews) -> Vec<u8>;

/// Every kind of RAW file that is read.
pub const KINDS: [(&str, Make); 6] =
    [("cr2", cr2), ("nef", nef), ("arw", arw), ("dng", dng), ("cr3", cr3), ("raf", raf)];

/// An entry of a directory.
#[derive(Clone)]
pub enum Entry {
    Short(u16, u16),
    Long(u16, u32),
    Bytes(u16, [u8; 4]),
    Text(u16, &'static str),
    /// Two entries: where some bytes are, and how many.
    Data(u16, u16, Vec<u8>),
}

impl Entry {
    pub fn short(tag: u16, value: u16) -> Self {
        Self::Short(tag, value)
    }

    pub fn long(tag: u16, value: u32) -> Self {
        Self::Long(tag, value)
    }

    pub fn data(offset: u16, length: u16, bytes: Vec<u8>) -> Self {
        Self::Data(offset, length, bytes)
    }
}

/// A TIFF-structured file: directories linked one to the next, and directories below the first.
pub struct Tiff {
    pub big_endian: bool,
    /// What stands between the header and the first directory.
    pub mark: &'static [u8],
    pub chain: Vec<Vec<Entry>>,
    pub below: Vec<Vec<Entry>>,
    /// EXIF's directory, below the first too; empty for none.
    pub exif: Vec<Entry>,
}

impl Tiff {
    /// The file: directories, then their data in the same order.
    pub fn write(&self) -> Vec<u8> {
        let mut file = if self.big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        let size = |entries: &[Entry], more: usize| {
            let count: usize = entries.iter().map(|e| if matches!(e, Entry::Data(..)) { 2 } else { 1 }).sum();
            2 + 12 * (count + more) + 4
        };
        // Where everything will be: directories of the chain, those below and their list, then data.
        let first = 8 + self.mark.len();
        let linked = usize::from(!self.below.is_empty());
        let exif = (!self.exif.is_empty()).then_some(&self.exif);
        let all = || self.chain.iter().chain(&self.below).chain(exif);
        let mut at = first;
        let mut places = Vec::new();
        for (i, directory) in all().enumerate() {
            places.push(at);
            at += size(directory, if i == 0 { linked + usize::from(exif.is_some()) } else { 0 });
        }
        let list = at;
        let mut data_at = list + 4 * self.below.len();
        let mut data: Vec<u8> = Vec::new();
        self.long(&mut file, first);
        file.extend(self.mark);
        let (chain, below) = places.split_at(self.chain.len());
        let (below, exif) = below.split_at(self.below.len());
        for (i, directory) in all().enumerate() {
            let mut entries: Vec<(u16, u16, usize, [u8; 4])> = Vec::new();
            for entry in directory {
                match entry {
                    Entry::Short(tag, value) => entries.push((*tag, 3, 1, self.short(*value))),
                    Entry::Long(tag, value) => entries.push((*tag, 4, 1, self.four(*value as usize))),
                    Entry::Bytes(tag, value) => entries.push((*tag, 1, 4, *value)),
                    Entry::Text(tag, text) => {
                        entries.push((*tag, 2, text.len() + 1, self.four(data_at)));
                        data_at += text.len() + 1;
                        data.extend(text.as_bytes());
                        data.push(0);
                    }
                    Entry::Data(offset, length, bytes) => {
                        entries.push((*offset, 4, 1, self.four(data_at)));
                        entries.push((*length, 4, 1, self.four(bytes.len())));
                        data_at += bytes.len();
                        data.extend(bytes);
                    }
                }
            }
            if i == 0 && linked == 1 {
                let value = if below.len() == 1 { below[0] } else { list };
                entries.push((330, 4, below.len(), self.four(value)));
            }
            if i == 0 {
                entries.extend(exif.iter().map(|&place| (34_665, 4, 1, self.four(place))));
            }
            entries.sort_by_key(|e| e.0);
            file.extend(&self.short(entries.len() as u16)[..2]);
            for (tag, kind, count, value) in entries {
                file.extend(&self.short(tag)[..2]);
                file.extend(&self.short(kind)[..2]);
                self.long(&mut file, count);
                file.extend(value);
            }
            let next = if i < chain.len() { chain.get(i + 1).copied().unwrap_or(0) } else { 0 };
            self.long(&mut file, next);
        }
        below.iter().for_each(|&place| self.long(&mut file, place));
        file.extend(data);
        file
    }

    fn short(&self, value: u16) -> [u8; 4] {
        let [a, b] = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        [a, b, 0, 0]
    }

    fn four(&self, value: usize) -> [u8; 4] {
        if self.big_endian { (value as u32).to_be_bytes() } else { (value as u32).to_le_bytes() }
    }

    fn long(&self, file: &mut Vec<u8>, value: usize) {
        file.extend(self.four(value));
    }
}

/// The beginning of a lossless JPEG, as sensor data are packed.
pub fn lossless(width: u16, height: u16) -> Vec<u8> {
    let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
    [&[0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 14][..], &size, &[1, 0, 0x11, 0], &[0; 40]].concat()
}

const COLOUR_FILTER_ARRAY: Entry = Entry::Short(262, 32_803);

/// Canon: directories side by side: a thumbnail, the sensor's data as lossless JPEG, the large JPEG in one strip.
fn cr2(p: &Previews) -> Vec<u8> {
    let sensor = vec![Entry::short(259, 6), Entry::data(273, 279, lossless(5184, 3456))];
    let small = vec![Entry::data(513, 514, p.small.clone())];
    let uncompressed = vec![Entry::short(259, 1), Entry::data(273, 279, vec![0; 60])];
    let large = vec![Entry::short(259, 6), Entry::data(273, 279, p.large.clone())];
    // In a camera's file the large one's directory is the first; here it is the last, so that its data are.
    let first = vec![Entry::short(274, p.orientation)];
    let chain = vec![first, small, uncompressed, sensor, large];
    Tiff { big_endian: false, mark: b"CR\x02\0\0\0\0\0", chain, below: vec![], exif: p.exif() }.write()
}

/// Nikon: a small page first; below it the sensor's data, and the large JPEG.
fn nef(p: &Previews) -> Vec<u8> {
    let page = vec![
        Entry::long(254, 1),
        Entry::short(259, 1),
        Entry::short(274, p.orientation),
        Entry::data(273, 279, vec![0; 60]),
    ];
    let small = vec![Entry::long(254, 1), Entry::short(259, 6), Entry::data(513, 514, p.small.clone())];
    let sensor =
        vec![Entry::long(254, 0), Entry::short(259, 34_713), COLOUR_FILTER_ARRAY, Entry::data(273, 279, vec![0; 99])];
    let large = vec![Entry::long(254, 1), Entry::short(259, 6), Entry::data(513, 514, p.large.clone())];
    Tiff { big_endian: true, mark: b"", chain: vec![page], below: vec![small, sensor, large], exif: p.exif() }.write()
}

/// Sony: the thumbnail is the second directory's, the large JPEG the third's, the sensor's data are below the first.
fn arw(p: &Previews) -> Vec<u8> {
    let first = vec![Entry::long(254, 1), Entry::short(259, 6), Entry::short(274, p.orientation)];
    let small = vec![Entry::long(254, 1), Entry::short(259, 6), Entry::data(513, 514, p.small.clone())];
    let large = vec![Entry::long(254, 1), Entry::short(259, 6), Entry::data(513, 514, p.large.clone())];
    let sensor = vec![Entry::short(259, 32_767), COLOUR_FILTER_ARRAY, Entry::data(273, 279, vec![0; 99])];
    Tiff { big_endian: false, mark: b"", chain: vec![first, small, large], below: vec![sensor], exif: p.exif() }.write()
}

/// DNG: a small page first; below it the sensor's data as lossless JPEG, and previews in one strip each.
fn dng(p: &Previews) -> Vec<u8> {
    let page = vec![
        Entry::long(254, 1),
        Entry::short(259, 1),
        Entry::short(274, p.orientation),
        Entry::Bytes(50_706, [1, 4, 0, 0]),
        Entry::data(273, 279, vec![0; 60]),
    ];
    let sensor = vec![
        Entry::long(254, 0),
        Entry::short(259, 7),
        COLOUR_FILTER_ARRAY,
        Entry::data(273, 279, lossless(6000, 4000)),
    ];
    let preview = |jpeg: &[u8]| {
        vec![Entry::long(254, 1), Entry::short(259, 7), Entry::short(262, 6), Entry::data(273, 279, jpeg.to_vec())]
    };
    let below = vec![sensor, preview(&p.small), preview(&p.large)];
    Tiff { big_endian: false, mark: b"", chain: vec![page], below, exif: p.exif() }.write()
}

/// A JPEG with EXIF before all else.
pub fn with_exif(jpeg: &[u8], orientation: u16, exif: Vec<Entry>) -> Vec<u8> {
    let chain = vec![vec![Entry::short(274, orientation)]];
    let tiff = Tiff { big_endian: true, mark: b"", chain, below: vec![], exif }.write();
    let body = [b"Exif\0\0", &tiff[..]].concat();
    let length = (body.len() as u16 + 2).to_be_bytes();
    [&[0xFF, 0xD8, 0xFF, 0xE1][..], &length, &body, &jpeg[2..]].concat()
}

/// Fujifilm: a header, and the JPEG with the EXIF data of the whole. Sensor data would follow.
fn raf(p: &Previews) -> Vec<u8> {
    let own = p.large.windows(6).take(64).any(|w| w == b"Exif\0\0");
    let jpeg = if own { p.large.clone() } else { with_exif(&p.large, p.orientation, p.exif()) };
    let mut file = b"FUJIFILMCCD-RAW 0201FF119502X-T3".to_vec();
    file.resize(84, 0);
    file.extend(160u32.to_be_bytes());
    file.extend((jpeg.len() as u32).to_be_bytes());
    file.resize(160, 0);
    file.extend(jpeg);
    file
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

/// Canon, newer: boxes. Thumbnail and metadata within `moov`, a preview beside it, the large JPEG in `mdat` as the
/// first track's only sample, the sensor's data as the second's.
fn cr3(p: &Previews) -> Vec<u8> {
    let block =
        |entries| Tiff { big_endian: false, mark: b"", chain: vec![entries], below: vec![], exif: vec![] }.write();
    let header =
        |jpeg: &[u8]| [&[0, 0, 0, 0, 0, 1, 0, 160, 0, 120, 0, 1][..], &(jpeg.len() as u32).to_be_bytes()].concat();
    let canon = boxed(
        b"uuid",
        &[
            &0x85c0b687_820f_11e0_8111_f4ce462b6a48_u128.to_be_bytes(),
            &boxed(b"CNCV", &[b"CanonCR3_001/00.09.00/00.00.00"]),
            &boxed(b"CMT1", &[&block(vec![Entry::short(274, p.orientation)])]),
            &boxed(b"CMT2", &[&block(p.exif())]),
            &boxed(b"THMB", &[&header(&p.small), &p.small]),
        ],
    );
    let sensor = [0u8; 200];
    let track = |at: u64, length: usize| {
        let sizes = [[0u32, length as u32, 1].map(u32::to_be_bytes).concat()].concat();
        let offsets = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &at.to_be_bytes()].concat();
        let table = boxed(b"stbl", &[&boxed(b"stsz", &[&sizes]), &boxed(b"co64", &[&offsets])]);
        boxed(b"trak", &[&boxed(b"mdia", &[&boxed(b"minf", &[&table])])])
    };
    let movie = |at: u64| {
        let tracks = [track(at + sensor.len() as u64, p.large.len()), track(at, sensor.len())].concat();
        boxed(b"moov", &[&canon, &tracks])
    };
    let kind = boxed(b"ftyp", &[b"crx \0\0\0\x01crx isom"]);
    let preview = boxed(
        b"uuid",
        &[
            &0xeaf42b5e_1c98_4b88_b9fb_b7dc406e4d16_u128.to_be_bytes(),
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &boxed(b"PRVW", &[&header(&p.small), &p.small]),
        ],
    );
    let data = boxed(b"mdat", &[&sensor, &p.large]);
    let at = (kind.len() + movie(0).len() + preview.len() + 8) as u64;
    [kind, movie(at), preview, data].concat()
}
