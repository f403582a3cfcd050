//! libheif, opened at run time: the few functions of its C interface (libheif/heif.h, 1.12 and later) that it takes to
//! decode one picture. Nothing outside this file knows a pointer.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::decode::DecodeError;

#[cfg(not(target_os = "macos"))]
const NAMES: [&str; 1] = ["libheif.so.1"];
/// Homebrew's folder is not where the system looks.
#[cfg(target_os = "macos")]
const NAMES: [&str; 2] = ["libheif.1.dylib", "/opt/homebrew/lib/libheif.1.dylib"];

const RGB: c_int = 1;
/// Three bytes a pixel; libheif brings deeper colours down to them and leaves transparency out.
const INTERLEAVED: c_int = 10;

const UNSUPPORTED_FEATURE: c_int = 4;
const UNSUPPORTED_CODEC: c_int = 3000;

#[repr(C)]
struct Status {
    code: c_int,
    subcode: c_int,
    message: *const c_char,
}

/// What libheif keeps behind a pointer: a file, a picture in it, or its pixels.
type Opaque = *mut c_void;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Functions {
            /// Finds all of them.
            ///
            /// # Safety
            /// `library` must be libheif.
            unsafe fn of(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of libheif's header.
                unsafe { Ok(Self { $($name: *library.get(stringify!($name))?,)* }) }
            }
        }
    };
}

functions! {
    heif_context_alloc: fn() -> Opaque;
    heif_context_free: fn(Opaque);
    heif_context_set_maximum_image_size_limit: fn(Opaque, c_int);
    heif_context_read_from_memory_without_copy: fn(Opaque, *const u8, usize, *const c_void) -> Status;
    heif_context_get_primary_image_handle: fn(Opaque, *mut Opaque) -> Status;
    heif_image_handle_release: fn(Opaque);
    heif_image_handle_get_width: fn(Opaque) -> c_int;
    heif_image_handle_get_height: fn(Opaque) -> c_int;
    heif_decode_image: fn(Opaque, *mut Opaque, c_int, c_int, *const c_void) -> Status;
    heif_image_release: fn(Opaque);
    heif_image_get_width: fn(Opaque, c_int) -> c_int;
    heif_image_get_height: fn(Opaque, c_int) -> c_int;
    heif_image_get_plane_readonly: fn(Opaque, c_int, *mut c_int) -> *const u8;
}

/// libheif, for as long as the program runs.
pub struct Library {
    call: Functions,
    /// From 1.13 on.
    set_threads: Option<unsafe extern "C" fn(Opaque, c_int)>,
    _file: libloading::Library,
}

impl Library {
    /// The one of this machine, or why there is none.
    pub fn of_this_machine() -> Result<&'static Self, &'static str> {
        static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
        LIBRARY.get_or_init(|| Self::load(&NAMES)).as_ref().map_err(String::as_str)
    }

    /// Opens the first of the libraries that there is.
    fn load(names: &[&str]) -> Result<Self, String> {
        let mut why = String::new();
        for name in names {
            // SAFETY: these names are libheif's; what it runs when it is opened only fills its own tables.
            match unsafe { libloading::Library::new(*name) } {
                // SAFETY: as above.
                Ok(file) => return unsafe { Self::of(file) }.map_err(|e| format!("{name} is too old: {}", reason(&e))),
                Err(e) => why = reason(&e),
            }
        }
        Err(why)
    }

    /// # Safety
    /// `file` must be libheif.
    unsafe fn of(file: libloading::Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of libheif's header; heif_init takes no parameters yet, and loads codecs that
        // are files of their own.
        unsafe {
            let call = Functions::of(&file)?;
            if let Ok(init) = file.get::<unsafe extern "C" fn(*const c_void) -> Status>("heif_init") {
                init(null());
            }
            let set_threads = file.get("heif_context_set_max_decoding_threads").map(|f| *f).ok();
            Ok(Self { call, set_threads, _file: file })
        }
    }

    /// Reads a file's boxes and finds its primary picture, of at most about `max_pixels`.
    pub fn open<'a>(&'a self, bytes: &'a [u8], max_pixels: u64) -> Result<File<'a>, DecodeError> {
        let call = &self.call;
        // SAFETY: the context lives as long as `bytes`, which libheif only reads.
        unsafe {
            let context = Owned { pointer: (call.heif_context_alloc)(), free: call.heif_context_free };
            if context.pointer.is_null() {
                return Err(DecodeError::no_decoder("libheif has no memory left"));
            }
            let side = max_pixels.isqrt().saturating_add(1).try_into().unwrap_or(c_int::MAX);
            (call.heif_context_set_maximum_image_size_limit)(context.pointer, side);
            if let Some(set_threads) = self.set_threads {
                // Pictures are decoded side by side already: no threads within one.
                set_threads(context.pointer, 0);
            }
            let (at, length) = (bytes.as_ptr(), bytes.len());
            check((call.heif_context_read_from_memory_without_copy)(context.pointer, at, length, null()))?;
            let mut handle = Owned { pointer: null_mut(), free: call.heif_image_handle_release };
            check((call.heif_context_get_primary_image_handle)(context.pointer, &mut handle.pointer))?;
            Ok(File { call, handle, _context: context, _bytes: PhantomData })
        }
    }
}

/// A file's primary picture, not yet decoded.
pub struct File<'a> {
    call: &'a Functions,
    // Freed before the context.
    handle: Owned,
    _context: Owned,
    _bytes: PhantomData<&'a [u8]>,
}

impl File<'_> {
    /// Width and height, upright.
    pub fn size(&self) -> (usize, usize) {
        // SAFETY: the handle is valid.
        let (width, height) = unsafe {
            let handle = self.handle.pointer;
            ((self.call.heif_image_handle_get_width)(handle), (self.call.heif_image_handle_get_height)(handle))
        };
        (width.max(0) as usize, height.max(0) as usize)
    }

    /// Decodes it: width, height and RGB8 without gaps, upright.
    pub fn rgb(&self) -> Result<(usize, usize, Vec<u8>), DecodeError> {
        let call = self.call;
        // SAFETY: the handle is valid; the plane has `height` rows that lie `stride` bytes apart, until it is released.
        unsafe {
            let mut image = Owned { pointer: null_mut(), free: call.heif_image_release };
            check((call.heif_decode_image)(self.handle.pointer, &mut image.pointer, RGB, INTERLEAVED, null()))?;
            let width = (call.heif_image_get_width)(image.pointer, INTERLEAVED).max(0) as usize;
            let height = (call.heif_image_get_height)(image.pointer, INTERLEAVED).max(0) as usize;
            let mut stride: c_int = 0;
            let plane = (call.heif_image_get_plane_readonly)(image.pointer, INTERLEAVED, &mut stride);
            let stride = stride.max(0) as usize;
            if plane.is_null() || width == 0 || height == 0 || stride < 3 * width {
                return Err(DecodeError::undecodable("libheif gave no pixels"));
            }
            let rows = (0..height).flat_map(|y| std::slice::from_raw_parts(plane.add(y * stride), 3 * width));
            Ok((width, height, rows.copied().collect()))
        }
    }
}

/// Something of libheif's that is freed in the end.
struct Owned {
    pointer: Opaque,
    free: unsafe extern "C" fn(Opaque),
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: it came from libheif, nobody else frees it, and `free` is its kind's.
            unsafe { (self.free)(self.pointer) }
        }
    }
}

/// What the system says, which `libloading` keeps as the cause.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// libheif's errors are ours.
fn check(status: Status) -> Result<(), DecodeError> {
    if status.code == 0 {
        return Ok(());
    }
    // SAFETY: a message is a constant text of the library, or one that lives as long as the context.
    let message = match status.message.is_null() {
        true => "libheif gave no reason".into(),
        false => unsafe { CStr::from_ptr(status.message) }.to_string_lossy(),
    };
    if (status.code, status.subcode) == (UNSUPPORTED_FEATURE, UNSUPPORTED_CODEC) {
        let advice = "apt install libheif-plugin-libde265 libheif-plugin-aomdec";
        return Err(DecodeError::no_decoder(format!("{message} ({advice})")));
    }
    Err(DecodeError::undecodable(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_absent_or_another_one_is_an_error() {
        let absent = Library::load(&["libnone-of-this-name.so.1"]).err().unwrap();
        assert!(absent.contains("libnone-of-this-name"), "{absent}");
        let another = if cfg!(target_os = "macos") { "libSystem.dylib" } else { "libc.so.6" };
        let another = Library::load(&[another]).err().unwrap();
        assert!(another.contains("too old") && another.contains("heif_context_alloc"), "{another}");
    }
}
