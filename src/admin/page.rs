//! The files of the page that the listener serves. They are part of the program and refer to nothing outside.

/// A file of the page.
#[derive(Debug)]
pub(super) struct File {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// All of them.
pub(super) static FILES: &[File] =
    &[File { path: "/", content_type: "text/html; charset=utf-8", body: include_str!("page/index.html") }];
