//! Huffman codes of baseline JPEG (ITU-T T.81, F.2.2): several symbols at once where nobody wants their values.

/// Bits of a code that are looked up at once.
const LOOK: u32 = 10;
/// Bits among which as many whole symbols as fit are passed over at once.
const LEAP: u32 = 12;
/// The index behind a block's last coefficient.
const END: u32 = 64;
/// Zeros that must stand behind the bytes of [`Bits`].
pub const PADDING: usize = 16;

/// The bits of a scan, without stuffing and markers, from the first of a byte to the last.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The byte that is loaded next.
    at: usize,
    /// The next bits, from the highest.
    window: u64,
    /// Bits in the window that are whole bytes' and sure.
    held: u32,
}

impl<'a> Bits<'a> {
    /// From byte `at` of `bytes`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, window: 0, held: 0 }
    }

    /// Goes on at byte `at`.
    pub fn restart(&mut self, at: usize) {
        *self = Self::new(self.bytes, at);
    }

    /// The byte behind the last of which a bit was taken.
    pub fn at(&self) -> usize {
        self.at - (self.held / 8) as usize
    }

    /// Sees to it that at least 56 bits are in the window; `None` behind the padding.
    #[inline(always)]
    fn fill(&mut self) -> Option<()> {
        let next = self.bytes.get(self.at..)?.first_chunk()?;
        self.window |= u64::from_be_bytes(*next) >> self.held;
        self.at += ((63 - self.held) >> 3) as usize;
        self.held |= 56;
        Some(())
    }

    #[inline(always)]
    fn take(&mut self, bits: u32) {
        self.window <<= bits;
        self.held -= bits;
    }
}

/// What stands in the next `LOOK` bits: 6 bits for those that it takes, 8 for how far it is from the last coefficient to this
/// one, which is [`END`] for the end of a block, and 16 for the coefficient. What does not stand there whole is [`Symbol::LONG`].
#[derive(Clone, Copy)]
struct Symbol(u32);

impl Symbol {
    const LONG: Self = Self((2 * END) << 8);

    fn new(bits: u32, advance: u32, number: i32) -> Self {
        Self((number as u32) << 16 | advance << 8 | bits)
    }

    fn bits(self) -> u32 {
        self.0 & 63
    }

    fn advance(self) -> u32 {
        self.0 >> 8 & 255
    }

    fn number(self) -> i16 {
        (self.0 >> 16) as i16
    }
}

/// Whole symbols in a row: 6 bits for the bits that they take, 7 for how far they lead, the end of a block counted as one
/// more coefficient, and the highest bit if they end it. Where there is not one whole symbol, they lead to the [`END`].
#[derive(Clone, Copy)]
struct Leap(u16);

impl Leap {
    const NONE: Self = Self((END as u16) << 6);

    fn bits(self) -> u32 {
        u32::from(self.0 & 63)
    }

    fn advance(self) -> u32 {
        u32::from(self.0 >> 6 & 127)
    }

    fn ends_block(self) -> bool {
        self.0 >> 15 == 1
    }
}

/// A Huffman table.
pub struct Table {
    symbols: [Symbol; 1 << LOOK],
    leaps: [Leap; 1 << LEAP],
    /// For each length, the 16 bits behind its last code, and what must be added to a code to have its byte's number.
    lengths: [(u32, i32); 17],
    /// (run, size) of each code.
    bytes: Vec<u8>,
}

impl Table {
    /// Of the numbers of codes of 1 to 16 bits, and of their bytes in order. `None` if there are no such codes. One that is of
    /// `coefficients` may pass over them.
    pub fn new(counts: &[u8; 16], bytes: &[u8], coefficients: bool) -> Option<Box<Self>> {
        // In 8-bit pictures a coefficient has at most 10 bits, a mean's difference 11.
        let sound = |byte: &u8| if coefficients { byte & 15 <= 10 } else { *byte <= 11 };
        if !bytes.iter().all(sound) {
            return None;
        }
        let mut lengths = [(0, 0); 17];
        let (mut code, mut number) = (0u32, 0u32);
        for (length, &count) in (1..).zip(counts) {
            let first = code;
            code += u32::from(count);
            if code > 1 << length {
                return None;
            }
            lengths[length] = (code << (16 - length), number as i32 - first as i32);
            number += u32::from(count);
            code <<= 1;
        }
        let (symbols, leaps) = ([Symbol::LONG; 1 << LOOK], [Leap::NONE; 1 << LEAP]);
        let mut table = Box::new(Self { symbols, leaps, lengths, bytes: bytes.to_vec() });
        for bits in 0..1u32 << LOOK {
            let symbol = table.read(u64::from(bits) << (64 - LOOK));
            table.symbols[bits as usize] = symbol.filter(|s| s.bits() <= LOOK).unwrap_or(Symbol::LONG);
        }
        for bits in (0..1u32 << LEAP).filter(|_| coefficients) {
            table.leaps[bits as usize] = table.leap(bits);
        }
        Some(table)
    }

    /// The symbol at the beginning of a window, code by code.
    fn read(&self, window: u64) -> Option<Symbol> {
        let bits = (window >> 48) as u32;
        let length = (1..=16).find(|&length| bits < self.lengths[length as usize].0)?;
        let number = (bits >> (16 - length)) as i32 + self.lengths[length as usize].1;
        let byte = *self.bytes.get(usize::try_from(number).ok()?)?;
        let (run, size) = (u32::from(byte >> 4), u32::from(byte & 15));
        let advance = if byte == 0 { END } else { run + 1 };
        // EXTEND in T.81, F.2.2.1.
        let behind = window << length;
        let number = (behind >> 1 >> (63 - size)) as i32;
        let negative = size > 0 && behind >> 63 == 0;
        Some(Symbol::new(length + size, advance, if negative { number + 1 - (1 << size) } else { number }))
    }

    /// The whole symbols among `LEAP` bits.
    fn leap(&self, bits: u32) -> Leap {
        let (mut taken, mut advance, mut ends) = (0, 0, false);
        while taken < LEAP && !ends {
            let Some(symbol) = self.read(u64::from(bits) << (64 - LEAP) << taken) else { break };
            let ends_here = symbol.advance() == END;
            let so_far = advance + if ends_here { 1 } else { symbol.advance() };
            if taken + symbol.bits() > LEAP || so_far > END {
                break;
            }
            (taken, advance, ends) = (taken + symbol.bits(), so_far, ends_here);
        }
        if taken == 0 { Leap::NONE } else { Leap(u16::from(ends) << 15 | (advance << 6 | taken) as u16) }
    }

    /// The next symbol, whatever its length.
    #[inline(never)]
    fn long(&self, bits: &mut Bits) -> Option<Symbol> {
        bits.fill()?;
        let symbol = self.read(bits.window)?;
        bits.take(symbol.bits());
        bits.fill()?;
        Some(symbol)
    }

    /// The difference of a block's mean to that of the block before.
    #[inline(always)]
    pub fn difference(&self, bits: &mut Bits) -> Option<i16> {
        bits.fill()?;
        let symbol = self.symbols[(bits.window >> (64 - LOOK)) as usize];
        if symbol.advance() > END {
            return Some(self.long(bits)?.number());
        }
        bits.take(symbol.bits());
        Some(symbol.number())
    }

    /// The other coefficients of a block: tells `each` the index in zigzag order and the value of those up to `last`, and
    /// perhaps of the next; passes over the rest.
    #[inline(always)]
    pub fn coefficients(&self, bits: &mut Bits, last: u32, mut each: impl FnMut(u32, i16)) -> Option<()> {
        let mut at = 0;
        while at < last {
            bits.fill()?;
            for _ in 0..56 / LOOK {
                let mut symbol = self.symbols[(bits.window >> (64 - LOOK)) as usize];
                if at + symbol.advance() < END {
                    bits.take(symbol.bits());
                } else if symbol.advance() == END {
                    bits.take(symbol.bits());
                    return Some(());
                } else {
                    symbol = self.long(bits)?;
                    if at + symbol.advance() >= END {
                        return (symbol.advance() == END).then_some(());
                    }
                }
                at += symbol.advance();
                each(at, symbol.number());
                if at >= last {
                    break;
                }
            }
        }
        loop {
            bits.fill()?;
            for _ in 0..56 / LEAP {
                let leap = self.leaps[(bits.window >> (64 - LEAP)) as usize];
                // Behind the last coefficient another block begins, with another table.
                if at + leap.advance() >= END {
                    if at == END - 1 {
                        return Some(());
                    }
                    let symbol = self.long(bits)?;
                    at += symbol.advance();
                    if at >= END {
                        return (symbol.advance() == END).then_some(());
                    }
                    break;
                }
                at += leap.advance();
                bits.take(leap.bits());
                if leap.ends_block() {
                    return Some(());
                }
            }
        }
    }
}
