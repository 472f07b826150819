// The pictures of docs/dashboard.md: a real daemon under load for two minutes, restarted once. With `pngquant` (Debian's package) they
// are made smaller; Debian's fonts-inter makes them look as on a desktop.

import { spawnSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { check, Daemon, Load, openPage, pause } from "./harness.mjs";

const BYTES_MAX = 300_000;
const SHOTS = [
    { name: "dashboard-dark.png", width: 1440, height: 1250, colorScheme: "dark", at: 520 },
    { name: "dashboard-light.png", width: 1440, height: 1250, colorScheme: "light" },
    { name: "dashboard-memory.png", width: 1440, height: 1250, colorScheme: "light", below: "#memory" },
    { name: "dashboard-phone.png", width: 360, height: 1500, colorScheme: "dark" },
];

export async function takeScreenshots(browser, binary, folder) {
    mkdirSync(folder, { recursive: true });
    const daemon = new Daemon(binary, ["-m", "64", "-c", "2048", "-o", "admin_keys"]);
    const settings = { keys: 60000, hot: ["user:1017:profile", "feed:home:en"], connections: 6 };
    await daemon.start();
    let load = new Load(daemon.port, settings);
    try {
        const pages = [];
        for (const shot of SHOTS) {
            const page = await openPage(browser, daemon.address, shot);
            await page.locator("#window label", { hasText: "2 min" }).click();
            pages.push(page);
        }
        await pause(25_000);
        await load.stop();
        await daemon.stop();
        await pause(5000);
        await daemon.start();
        load = new Load(daemon.port, settings);
        for (let wave = 0; wave < 17; wave += 1) {
            load.batch = 40 + Math.round(50 * (1 + Math.sin(wave / 2.2)));
            await pause(5000);
        }
        for (const [at, shot] of SHOTS.entries()) {
            const path = join(folder, shot.name);
            const page = pages[at];
            if (shot.below) await page.evaluate((place) => scrollTo(0, document.querySelector(place).getBoundingClientRect().top - 80), shot.below);
            if (shot.at) await page.locator("#chart-operations .plot").hover({ position: { x: shot.at, y: 90 } });
            await page.screenshot({ path });
            spawnSync("pngquant", ["--force", "--ext", ".png", "--quality", "80-98", "--speed", "1", path]);
            check(statSync(path).size < BYTES_MAX, `${shot.name} has less than ${BYTES_MAX} bytes`, String(statSync(path).size));
        }
    } finally {
        await load.stop();
        await daemon.stop();
    }
}
