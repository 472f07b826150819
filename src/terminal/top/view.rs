//! The board as a picture: the nodes in a table, and below it one of them in six ways.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, LineGauge, Paragraph, Row, Sparkline, Table};

use super::super::findings::Level;
use super::super::sample::Sample;
use super::super::settings;
use super::super::text::{bytes, count, latency, percent, printable, seconds};
use super::board::{Board, Node, Point, TABS, Tab};
use super::columns::{fitting, hit_ratio, rate};
use super::plain::{HOT_KEYS, state};
use super::requests;

/// Draws everything.
pub fn draw(frame: &mut Frame, board: &Board) {
    let rows = u16::try_from(board.nodes.len()).unwrap_or(u16::MAX).saturating_add(1);
    // The nodes take at most half of the height; the chosen one stays in sight.
    let table_rows = rows.min((frame.area().height / 2).max(2));
    let [title, nodes, tabs, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(table_rows),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(board), title);
    draw_nodes(frame, board, nodes);
    frame.render_widget(tab_line(board), tabs);
    let node = board.node();
    match (board.tab, node.sample(), node.failure()) {
        (Tab::HotKeys, ..) => draw_hot_keys(frame, node, body),
        (Tab::Warnings, ..) => draw_warnings(frame, board, body),
        (_, None, None) => frame.render_widget(Paragraph::new("asking ..."), body),
        (Tab::Overview, sample, failure) => draw_overview(frame, node, sample, failure.map(ToString::to_string), body),
        (_, _, Some(failure)) => frame.render_widget(Paragraph::new(failure.to_string().red()), body),
        (Tab::Requests, Some(_), _) => requests::draw(frame, node, body),
        (Tab::Slabs, Some(sample), _) => draw_slabs(frame, board, sample, body),
        (Tab::Settings, Some(sample), _) => draw_settings(frame, board, sample, body),
    }
    let help = " q quit   up/down node   left/right or 1-6 view   page up/down scroll";
    frame.render_widget(Paragraph::new(help).style(Style::new().dim()), keys);
}

fn title_line(board: &Board) -> Paragraph<'static> {
    let down = board.nodes.iter().filter(|node| node.failure().is_some()).count();
    let sum = |value: fn(&Node) -> f64| board.nodes.iter().map(value).sum::<f64>();
    let operations = sum(|node| node.rates.map_or(0.0, |rates| rates.operations));
    let evictions = sum(|node| node.rates.map_or(0.0, |rates| rates.evictions));
    let items: u64 = board.nodes.iter().filter_map(Node::sample).map(|sample| sample.number("curr_items")).sum();
    let mut spans = vec![
        Span::raw(" slabstash top ").reversed(),
        Span::raw(format!("  {} nodes", board.nodes.len())),
        if down > 0 { Span::raw(format!(", {down} down")).red().bold() } else { Span::raw("") },
    ];
    spans.push(Span::raw(format!(
        "   {} ops/s   {} items   {} evictions/s   every {}s",
        rate(operations),
        count(items),
        rate(evictions),
        board.interval.as_secs_f64(),
    )));
    Paragraph::new(Line::from(spans))
}

fn tab_line(board: &Board) -> Paragraph<'static> {
    let mut spans = Vec::new();
    for (at, (tab, name)) in TABS.iter().enumerate() {
        let found = if *tab == Tab::Warnings { warnings(board) } else { 0 };
        let count = if found > 0 { format!(" ({found})") } else { String::new() };
        let text = format!(" {} {name}{count} ", at + 1);
        let style = match (*tab == board.tab, found > 0) {
            (true, _) => Style::new().reversed(),
            (false, true) => Style::new().yellow(),
            (false, false) => Style::new().dim(),
        };
        spans.push(Span::styled(text, style));
    }
    spans.push(Span::raw(format!("  {}", board.node().address)).bold());
    Paragraph::new(Line::from(spans))
}

/// How many things are wrong on all nodes.
fn warnings(board: &Board) -> usize {
    board.nodes.iter().map(|node| node.findings.len() + usize::from(node.failure().is_some())).sum()
}

fn draw_nodes(frame: &mut Frame, board: &Board, area: Rect) {
    let longest = board.nodes.iter().map(|node| node.address.to_string().len()).max().unwrap_or(0);
    let address_width = u16::try_from(longest).unwrap_or(u16::MAX).clamp(4, (area.width / 3).max(4));
    let columns = fitting(area.width.saturating_sub(address_width + 1 + STATE_WIDTH));
    let mut widths = vec![Constraint::Length(address_width), Constraint::Length(STATE_WIDTH)];
    widths.extend(columns.iter().map(|column| Constraint::Length(column.width)));
    let mut heading = vec![Cell::from("node"), Cell::from("state")];
    heading.extend(columns.iter().map(|column| right(column.name.to_owned())));
    let shown = usize::from(area.height.saturating_sub(1));
    let first = (board.chosen + 1).saturating_sub(shown);
    let rows = board.nodes.iter().enumerate().skip(first).map(|(at, node)| {
        let mut cells = vec![Cell::from(node.address.to_string()), Cell::from(state(node)).style(state_style(node))];
        cells.extend(columns.iter().map(|column| right(column.cell(node))));
        let row = Row::new(cells);
        if at == board.chosen { row.style(Style::new().add_modifier(Modifier::REVERSED)) } else { row }
    });
    let table = Table::new(rows, widths).header(Row::new(heading).style(Style::new().bold())).column_spacing(1);
    frame.render_widget(table, area);
}

fn state_style(node: &Node) -> Style {
    match (&node.last, node.findings.first().map(|finding| finding.level)) {
        (Some(Err(_)), _) | (_, Some(Level::Critical)) => Style::new().fg(Color::Red).bold(),
        (_, Some(Level::Warning)) => Style::new().fg(Color::Yellow),
        (Some(Ok(_)), _) => Style::new().fg(Color::Green),
        (None, _) => Style::new().dim(),
    }
}

fn draw_overview(frame: &mut Frame, node: &Node, sample: Option<&Sample>, failure: Option<String>, area: Rect) {
    let [figures, history] = match area.width {
        ..WIDE => Layout::vertical([Constraint::Length(FIGURE_LINES + 1), Constraint::Min(0)]).areas(area),
        _ => Layout::horizontal([Constraint::Length(46), Constraint::Min(0)]).areas(area),
    };
    match (sample, failure) {
        (Some(sample), _) => draw_figures(frame, node, sample, figures),
        (None, failure) => {
            let text = failure.unwrap_or_default();
            let paragraph = Paragraph::new(text.red()).wrap(ratatui::widgets::Wrap { trim: true });
            frame.render_widget(paragraph, figures);
        }
    }
    let charts = Layout::vertical([Constraint::Ratio(1, 4); 4]).split(history);
    for ((name, pick, show), chart) in CHARTS.iter().zip(charts.iter()) {
        draw_chart(frame, node, name, *pick, *show, *chart);
    }
}

fn draw_figures(frame: &mut Frame, node: &Node, sample: &Sample, area: Rect) {
    let [gauge, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let limit = sample.number("limit_maxbytes");
    let label = format!("memory {} of {}", bytes(sample.paged_bytes), bytes(limit));
    let share = sample.memory_share().clamp(0.0, 1.0);
    let style = Style::new().fg(Color::Cyan);
    frame.render_widget(LineGauge::default().ratio(share).label(label).filled_style(style), gauge);
    let rates = node.rates.unwrap_or_default();
    let resident = sample.resident_bytes.map_or(String::new(), |resident| format!(", resident {}", bytes(resident)));
    let age = sample.classes.oldest_seconds().map_or("no items".to_owned(), seconds);
    let ratio = hit_ratio(sample, node.rates.as_ref()).map_or("no gets yet".to_owned(), percent);
    let all = sample.hit_ratio().map_or(String::new(), |ratio| format!(", {} since the start", percent(ratio)));
    let connections = (sample.number("curr_connections"), sample.number("max_connections"));
    let lines = [
        ("version", format!("{}, up {}", sample.version(), seconds(sample.number("uptime")))),
        ("wasted", format!("{} of the pages{resident}", bytes(sample.classes.wasted_bytes()))),
        ("items", format!("{}, the oldest idle for {age}", count(sample.number("curr_items")))),
        ("hit ratio", format!("{ratio}{all}")),
        ("per second", format!("{} get, {} set, {} other", rate(rates.gets), rate(rates.sets), rate(rates.others))),
        ("evictions", format!("{} per second, {} in all", rate(rates.evictions), count(sample.number("evictions")))),
        ("expired", format!("{} per second reclaimed", rate(rates.reclaimed))),
        ("connections", format!("{} of {}, {} new per second", connections.0, connections.1, rate(rates.connections))),
        ("traffic", format!("{}/s in, {}/s out", bytes(rates.bytes_in as u64), bytes(rates.bytes_out as u64))),
        ("round trip", latency(sample.round_trip)),
    ];
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|(name, text)| Line::from(vec![Span::raw(format!("{name:<12}")).dim(), Span::raw(text)]))
        .collect();
    frame.render_widget(Paragraph::new(lines), rest);
}

/// A chart's name, what it shows of a point, and how its last value reads.
type Chart = (&'static str, fn(&Point) -> Option<u64>, fn(u64) -> String);

const CHARTS: &[Chart] = &[
    ("operations per second", |point| point.operations, count),
    ("hit ratio", |point| point.hit_permille, |permille| percent(permille as f64 / 1000.0)),
    ("round trip", |point| point.round_trip_micros, |micros| latency(std::time::Duration::from_micros(micros))),
    ("evictions per second", |point| point.evictions, count),
];

fn draw_chart(
    frame: &mut Frame,
    node: &Node,
    name: &str,
    pick: fn(&Point) -> Option<u64>,
    show: fn(u64) -> String,
    area: Rect,
) {
    let width = usize::from(area.width);
    let first = node.history.len().saturating_sub(width);
    let known: Vec<Option<u64>> = node.history.iter().skip(first).map(pick).collect();
    let most = known.iter().flatten().max().copied();
    let title = match (known.last().copied().flatten(), most) {
        (Some(last), Some(most)) => format!("{name}: {} (most {})", show(last), show(most)),
        _ => format!("{name}: -"),
    };
    // The newest stands at the right edge.
    let mut data = vec![None; width - known.len()];
    data.extend(known);
    let block = Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title);
    let chart = Sparkline::default()
        .block(block)
        .data(data)
        .max(most.unwrap_or(1).max(1))
        .absent_value_symbol(" ")
        .style(Style::new().fg(Color::Cyan));
    frame.render_widget(chart, area);
}

fn draw_slabs(frame: &mut Frame, board: &Board, sample: &Sample, area: Rect) {
    let names = ["class", "chunk", "pages", "items", "wasted", "wasted %", "age", "evicted", "evicted at", "no memory"];
    let widths = [5, 9, 6, 8, 10, 8, 8, 9, 10, 9].map(Constraint::Length);
    let rows = sample.classes.0.iter().skip(board.scrolled).map(|class| {
        let wasted = class.wasted_bytes() as f64 / class.page_bytes().max(1) as f64;
        let age = if class.evicted > 0 { seconds(class.evicted_age_seconds) } else { "-".to_owned() };
        let row = Row::new([
            right(class.id.to_string()),
            right(bytes(class.chunk_bytes)),
            right(class.pages.to_string()),
            right(count(class.items)),
            right(bytes(class.wasted_bytes())),
            right(percent(wasted)),
            right(seconds(class.age_seconds)),
            right(count(class.evicted)),
            right(age),
            right(count(class.out_of_memory)),
        ]);
        if class.out_of_memory > 0 { row.style(Style::new().fg(Color::Red)) } else { row }
    });
    let heading = Row::new(names.map(|name| right(name.to_owned()))).style(Style::new().bold());
    let total = format!(
        "{} classes own {}, {} of it wasted",
        sample.classes.0.len(),
        bytes(sample.classes.page_bytes()),
        bytes(sample.classes.wasted_bytes())
    );
    let [summary, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(total), summary);
    frame.render_widget(Table::new(rows, widths).header(heading), list);
}

fn draw_settings(frame: &mut Frame, board: &Board, sample: &Sample, area: Rect) {
    let changed = settings::changed(&sample.settings);
    if changed.is_empty() {
        frame.render_widget(Paragraph::new("all settings are memcached's defaults"), area);
        return;
    }
    let rows = changed.iter().skip(board.scrolled).map(|setting| {
        let default = setting.default.unwrap_or("-").to_owned();
        Row::new([setting.name.clone(), setting.value.clone(), default])
    });
    let widths = [Constraint::Length(24), Constraint::Fill(1), Constraint::Length(24)];
    let heading = Row::new(["setting", "value", "memcached's default"]).style(Style::new().bold());
    frame.render_widget(Table::new(rows, widths).header(heading), area);
}

fn draw_hot_keys(frame: &mut Frame, node: &Node, area: Rect) {
    let mut lines = Vec::new();
    if node.has_admin {
        lines = requests::hot_keys(node);
    } else if let Some(seen) = &node.hot_keys {
        let top = seen.keys.top(HOT_KEYS);
        if top.is_empty() && seen.failure.is_none() {
            lines.push(Line::raw(if seen.is_watched { "no fetches seen yet" } else { "watching ..." }));
        }
        for (key, share) in top {
            let bar = "#".repeat((share * 40.0).round() as usize);
            let text = format!("{:>7}  {bar:<40}  {}", percent(share), printable(&key));
            lines.push(Line::raw(text));
        }
        if let Some(failure) = &seen.failure {
            lines.push(Line::from(format!("cannot be watched: {failure}").red()));
        }
    } else {
        lines.push(Line::raw("watching ..."));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_warnings(frame: &mut Frame, board: &Board, area: Rect) {
    let mut lines = Vec::new();
    for node in &board.nodes {
        if let Some(failure) = node.failure() {
            lines.push(Line::from(failure.to_string().red()));
        }
        for finding in &node.findings {
            let text = format!("{}: {}", node.address, finding.text);
            let is_critical = finding.level == Level::Critical;
            lines.push(Line::from(if is_critical { text.red() } else { text.yellow() }));
        }
    }
    if lines.is_empty() {
        lines.push(Line::from("nothing is wrong".green()));
    }
    let lines: Vec<Line> = lines.into_iter().skip(board.scrolled).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::raw(text).alignment(Alignment::Right))
}

/// From this width on the figures stand beside their history.
const WIDE: u16 = 90;

/// Lines of figures, the gauge not counted.
const FIGURE_LINES: u16 = 10;

const STATE_WIDTH: u16 = 5;

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::board::testing::board;
    use super::*;

    fn picture(board: &Board, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, board)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let lines: Vec<String> = buffer
            .content()
            .chunks(usize::from(width))
            .map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect();
        lines.join("\n")
    }

    #[track_caller]
    fn check(board: &Board, expected: &[&str]) {
        let picture = picture(board, 150, 40);
        for text in expected {
            assert!(picture.contains(text), "no {text:?} in\n{picture}");
        }
    }

    #[test]
    fn the_nodes_are_always_there() {
        let mut board = board();
        for tab in 0..TABS.len() {
            board.open(tab);
            check(&board, &["3 nodes, 1 down", "84.0k ops/s", "127.0.0.1:23111", "[::1]:23112", "down", "q quit"]);
        }
    }

    #[test]
    fn each_view_shows_its_own() {
        let mut board = board();
        check(
            &board,
            &[
                "memory ",
                "wasted ",
                "the oldest idle for",
                "90.0%, 90.0% since the start",
                "40.0k get, 2000 set",
                "operations per second: 42.0k (most 42.0k)",
                "hit ratio: 90.0%",
                "round trip: 0.25 ms",
                "evictions per second: 12",
            ],
        );
        board.open(1);
        check(&board, &["4 classes own ", "chunk", "96 B", "evicted at"]);
        board.open(2);
        check(&board, &["memcached's default", "maxbytes", "2097152", "67108864"]);
        board.open(3);
        check(&board, &["watching ..."]);
        board.open(4);
        check(
            &board,
            &[
                "[::1]:23112: Worker 1 stands.",
                "127.0.0.1:23111: slab class",
                "unix:/run/cache.sock: cannot connect: no such file",
                "Warnings (",
            ],
        );
    }

    #[test]
    fn what_the_admin_listener_knows_has_its_view() {
        let mut board = board();
        board.open(5);
        check(&board, &["6 Requests", "--admin tells top where"]);
        board.choose(1);
        check(
            &board,
            &[
                "get            880.0k    20.0k     8 us   112 us",
                "in the last 87 seconds",
                "a certificate ends in 6.5 days",
                "75.0%  up to 64 B",
                "85.0%  without an end",
                "2.5%  longer",
            ],
        );
        board.open(3);
        check(&board, &["25.0%", "812.5/s  #77aa", "8.0/s  user:1"]);
    }

    #[test]
    fn a_node_that_is_down_says_why() {
        let mut board = board();
        board.choose(2);
        check(&board, &["unix:/run/cache.sock: cannot connect", "operations per second: -"]);
        board.open(1);
        check(&board, &["unix:/run/cache.sock: cannot connect"]);
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut board = board();
        for tab in 0..TABS.len() {
            board.open(tab);
            for width in [1, 2, 5, 20, 40, 80, 89, 90, 300] {
                for height in [1, 2, 3, 5, 10, 24, 100] {
                    picture(&board, width, height);
                }
            }
        }
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters() {
        let picture = picture(&board(), 60, 40);
        assert!(picture.contains("ops/s") && picture.contains("hit") && !picture.contains("get/s"), "{picture}");
    }
}
