"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    scrollZoom: false,
  };

  const fitted = (layout, width) => {
    if (touch) layout.dragmode = false;
    if (width >= 480) return layout;
    layout.margin.l = 44;
    layout.font.size = 11;
    if (layout.yaxis.ticktext) layout.yaxis.ticktext = layout.meta.short;
    return layout;
  };

  const draw = (place) => {
    if (place.dataset.drawn) return Promise.resolve();
    place.dataset.drawn = "yes";
    const figure = figures[place.id];
    return Plotly.newPlot(place, figure.data, fitted(figure.layout, place.clientWidth), config);
  };

  const isVisible = (place) => !place.closest("[hidden]");
  const drawVisible = () => Promise.all([...document.querySelectorAll(".plot")].filter(isVisible).map(draw));

  const choose = (tabs, chosen) => {
    tabs.forEach((tab) => {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
    });
    return drawVisible();
  };

  document.querySelectorAll("[role=tablist]").forEach((list) => {
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const first = tabs.find((tab) => tab.getAttribute("aria-selected") === "true") || tabs[0];
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    tabs.forEach((tab, place) => {
      tab.addEventListener("click", () => choose(tabs, tab));
      tab.addEventListener("keydown", (event) => {
        if (!(event.key in steps)) return;
        event.preventDefault();
        const next = tabs[(place + steps[event.key] + tabs.length) % tabs.length];
        next.focus();
        choose(tabs, next);
      });
    });
    choose(tabs, first);
  });

  // A sheet of paper is narrower than the screen on which the charts were drawn.
  const drawn = () => [...document.querySelectorAll(".plot[data-drawn]")].filter(isVisible);
  addEventListener("beforeprint", () => {
    drawn().forEach((place) => {
      const across = Number(getComputedStyle(place.closest(".panels")).getPropertyValue("--across")) || 1;
      Plotly.relayout(place, { autosize: false, width: Math.floor((680 - 20 * (across - 1)) / across) });
    });
  });
  addEventListener("afterprint", () => drawn().forEach((place) => Plotly.relayout(place, { autosize: true, width: null })));

  drawVisible().then(() => {
    document.documentElement.dataset.ready = "yes";
  });
})();
