//! The files of the page that the listener serves. They are part of the program and refer to nothing outside.
//!
//! The page is written as several files and needs no build step: the browser gets the markup, one style sheet and one script,
//! which is all of `page/*.js` in the order below, inside one function. What the page does with the documents of the daemon is
//! in `docs/dashboard.md`; `protocol-tests/dashboard` looks at it in a browser.

/// A file of the page.
#[derive(Debug)]
pub(super) struct File {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// All of them.
pub(super) static FILES: &[File] = &[
    File { path: "/", content_type: "text/html; charset=utf-8", body: include_str!("page/index.html") },
    File { path: "/dashboard.css", content_type: "text/css; charset=utf-8", body: include_str!("page/dashboard.css") },
    File { path: "/dashboard.js", content_type: "text/javascript; charset=utf-8", body: SCRIPT },
];

const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("page/format.js"),
    include_str!("page/dom.js"),
    include_str!("page/history.js"),
    include_str!("page/chart.js"),
    include_str!("page/view.js"),
    include_str!("page/dashboard.js"),
    "})();\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_absent(words: &[&str]) {
        for file in FILES {
            for word in words {
                assert!(!file.body.contains(word), "{} has {word}", file.path);
            }
        }
    }

    #[test]
    fn nothing_is_loaded_from_outside() {
        for file in FILES {
            // Names of namespaces are never fetched.
            let body = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains("http://") && !body.contains("https://"), "{} has an address", file.path);
        }
        check_absent(&["@import", "url(", "src=\"//", "href=\"//", "href=\"/"]);
    }

    #[test]
    fn what_the_daemon_says_is_never_read_as_markup() {
        check_absent(&[
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "DOMParser",
            "setHTML",
        ]);
    }

    #[test]
    fn the_content_security_policy_lets_all_of_it_through() {
        let markup = FILES[0].body;
        assert!(!markup.contains(" style=") && !markup.contains("<style") && !markup.contains(" onclick="));
        assert_eq!(markup.matches("<script").count(), 1);
        assert!(markup.contains("<script src=\"dashboard.js\" defer></script>"));
        assert!(markup.contains("<link rel=\"stylesheet\" href=\"dashboard.css\">"));
    }
}
