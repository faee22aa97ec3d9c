"use strict";
// The page reads without this: it draws the charts, switches the colours and opens messages at once.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");

  // Messages

  const all = [...document.querySelectorAll(".message > details")];
  const opener = document.getElementById("open-all");
  const label = () => {
    if (opener) opener.textContent = all.every((each) => each.open) ? "Close all" : "Open all";
  };
  if (opener && all.length) {
    opener.hidden = false;
    opener.addEventListener("click", () => {
      const open = !all.every((each) => each.open);
      for (const each of all) each.open = open;
    });
    for (const each of all) each.addEventListener("toggle", label);
  }
  const follow = () => {
    const found = location.hash.startsWith("#message-") && document.getElementById(location.hash.slice(1));
    if (!found) return;
    found.querySelector("details").open = true;
    found.scrollIntoView({ behavior: reduced.matches ? "auto" : "smooth" });
  };
  addEventListener("hashchange", follow);

  // Charts

  const points = JSON.parse(document.getElementById("points").textContent);
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const moment = (seconds) => {
    const whole = Math.round(seconds);
    const minutes = Math.floor(whole / 60) % 60;
    const hours = Math.floor(whole / 3600);
    const two = (value) => String(value).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };
  const value = (unit) => (_, raw) =>
    raw === null || raw === undefined
      ? "–"
      : `${raw.toLocaleString("en", { maximumSignificantDigits: 4 })}${unit ? ` ${unit}` : ""}`;
  const HEIGHT = 190;
  const MOMENTS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const WHOLE = [1, 2, 5].flatMap((step) => [...Array(9).keys()].map((power) => step * 10 ** power)).sort((a, b) => a - b);
  const drawn = new Map();

  // Behind the lines: where values are worth a look, and where they are bad.
  const limits = (chart) => (plot) => {
    if (!chart.limits) return;
    const { ctx, bbox } = plot;
    const { min, max } = plot.scales.y;
    const [warn, bad] = chart.limits;
    const end = chart.inverted ? min : max;
    const place = (value) => plot.valToPos(Math.min(Math.max(value, min), max), "y", true);
    ctx.save();
    for (const [from, to, name] of [[warn, bad, "--limit-warn"], [bad, end, "--limit-bad"]]) {
      const [one, other] = [place(from), place(to)];
      ctx.fillStyle = colour(name);
      ctx.globalAlpha = 0.13;
      ctx.fillRect(bbox.left, Math.min(one, other), bbox.width, Math.abs(one - other));
      ctx.globalAlpha = 0.8;
      if (from > min && from < max)
        ctx.fillRect(bbox.left, Math.round(one), bbox.width, devicePixelRatio);
    }
    ctx.restore();
  };

  const range = (bounds) => (_, low, high) => {
    if (bounds) return bounds;
    if (low === null || high === null) return [0, 1];
    const bottom = low < 0 ? low - 0.05 * (high - low || 10) : 0;
    const top = high <= 0 && low < 0 ? 0 : high * 1.12;
    return [bottom, top > bottom ? top : bottom + 1];
  };

  const draw = (place) => {
    const name = place.dataset.chart;
    const chart = points.charts[name];
    const times = points.times[name.split("-")[0]];
    const width = place.clientWidth;
    if (!width) return;
    const before = drawn.get(place);
    if (before) before.destroy();
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    let others = 0;
    const series = chart.lines.map((line) => {
      const several = new Set(chart.lines.map((each) => each.side)).size < chart.lines.length;
      const stroke = several
        ? colour(`--series-${1 + (others++ % 6)}`)
        : colour(line.side === "sent" ? "--sent" : "--received");
      return {
        label: line.label,
        stroke,
        width: 1.75,
        dash: line.side === "sent" ? [6, 4] : undefined,
        points: { show: times.length < 3, size: 6, fill: stroke },
        value: value(chart.unit),
      };
    });
    const options = {
      width,
      height: HEIGHT,
      padding: [8, 26, 0, 0],
      scales: { x: { time: false }, y: { range: range(chart.bounds) } },
      cursor: { sync: { key: name.split("-")[0] }, drag: { x: false, y: false }, y: false },
      legend: { live: true },
      axes: [
        { ...axis, values: (_, splits) => splits.map(moment), size: 32, space: 60, incrs: MOMENTS },
        { ...axis, size: 54, space: 34, incrs: chart.counts ? WHOLE : undefined, values: (_, splits) => splits.map((at) => at.toLocaleString("en", { maximumFractionDigits: 3 })) },
      ],
      series: [{ label: "Time", value: (_, raw) => (raw === null || raw === undefined ? "–" : moment(raw)) }, ...series],
      hooks: { drawClear: [limits(chart)] },
    };
    drawn.set(place, new uPlot(options, [times, ...chart.lines.map((line) => line.y)], place));
  };

  const places = [...document.querySelectorAll("[data-chart]")];
  const redraw = () => places.forEach(draw);
  let widths = new Map();
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (widths.get(target) === target.clientWidth) continue;
      widths.set(target, target.clientWidth);
      draw(target);
    }
  });
  for (const place of places) watcher.observe(place);

  // Colours

  const toggle = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => {
    const other = isDark() ? "Light" : "Dark";
    toggle.textContent = other;
    toggle.setAttribute("aria-label", `Use ${other.toLowerCase()} colours`);
    redraw();
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  dark.addEventListener("change", show);
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details")) each.open = true;
  });
  show();
  follow();
})();
