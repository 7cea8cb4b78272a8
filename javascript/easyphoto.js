// What gradio alone can't do in all versions that hosts bring: look again while a job runs, remember over a reload what
// this page was about, and speak the reader's language. Works on plain DOM; a WebUI loads it from the extension's
// folder, the standalone app puts it in the head.
(function () {
    "use strict";
    const LOOK_AGAIN_MS = 1000;
    const ATTRIBUTES = ["placeholder", "aria-label"];
    const STORE = "easyphoto";
    let words = null; // English -> the reader's language, null for English
    let read = ""; // the words as they were last read
    let restored = false; // the user id of before

    // In gradio 3 a host may put its page inside a shadow root.
    function page() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function root() {
        return page().querySelector("#easyphoto");
    }

    // --- a running job asks to be looked at again: data-poll names the hidden button ---------------------------------
    function look() {
        if (document.hidden) return;
        const here = root();
        if (!here) return;
        const asking = new Set();
        here.querySelectorAll("[data-poll]").forEach((panel) => asking.add(panel.dataset.poll));
        // An answer about an earlier job may come late and take the panel of the one that was started since.
        here.querySelectorAll(".easyphoto-mark").forEach((mark) => {
            const shown = here.querySelector("#" + CSS.escape(mark.dataset.prefix + "_progress") + " [data-job]");
            if (shown && shown.dataset.job !== mark.dataset.job) asking.add(mark.dataset.prefix + "_tick");
        });
        asking.forEach((id) => {
            const button = here.querySelector("#" + CSS.escape(id));
            if (button) button.click();
        });
    }

    // --- what this page comes back to when it is loaded again: its last jobs, its photos by its own name, the user id.
    // A page that was open before goes before what another page of this browser left.
    function kept() {
        for (const store of ["sessionStorage", "localStorage"]) {
            try {
                const found = JSON.parse(window[store].getItem(STORE));
                if (found && typeof found === "object") return found;
            } catch (error) {
                // no storage here, or not ours
            }
        }
        return {};
    }

    function keep(all) {
        for (const store of ["sessionStorage", "localStorage"]) {
            try {
                window[store].setItem(STORE, JSON.stringify(all));
            } catch (error) {
                // a browser may forbid it: then a reload forgets
            }
        }
    }

    function name() {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }

    window.easyphotoKept = function () {
        const all = kept();
        if (!all.page) {
            all.page = name();
            keep(all);
        }
        return JSON.stringify(all);
    };

    function userId(here) {
        return here.querySelector("#easyphoto_train_user_id textarea, #easyphoto_train_user_id input");
    }

    // Here and not by the server, whose answer could come after somebody began to type.
    function restore(here) {
        const box = userId(here);
        if (!box) return;
        restored = true;
        const before = kept().user_id;
        if (!before || box.value) return;
        box.value = before;
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function remember() {
        const here = root();
        if (here && !restored) restore(here);
        if (!here || !here.querySelector(".easyphoto-mark")) return; // before the page was told what it had
        const all = kept();
        const before = JSON.stringify(all);
        all.jobs = all.jobs || {};
        here.querySelectorAll(".easyphoto-mark[data-keep]").forEach((mark) => {
            all.jobs[mark.dataset.keep] = mark.dataset.job;
        });
        const box = userId(here);
        if (box && restored) all.user_id = box.value;
        if (JSON.stringify(all) !== before) keep(all);
    }

    // --- the way to another of our tabs ------------------------------------------------------------------------------
    document.addEventListener("click", (event) => {
        const clicked = event.composedPath()[0];
        const way = clicked instanceof Element && clicked.closest("[data-open-tab]");
        if (!way) return;
        const tabs = root().querySelectorAll(
            "#easyphoto_tabs > .tab-wrapper [role=tab], #easyphoto_tabs > .tab-nav > button"
        );
        const wanted = tabs[Number(way.dataset.openTab)];
        if (wanted) wanted.click();
    });

    // --- language ----------------------------------------------------------------------------------------------------
    function translateText(node) {
        const known = words[node.data.trim()];
        if (known && known !== node.data.trim()) node.data = node.data.replace(node.data.trim(), known);
    }

    function translateElement(element) {
        for (const name of ATTRIBUTES) {
            const known = words[element.getAttribute(name)];
            if (known) element.setAttribute(name, known);
        }
    }

    function translate(node) {
        if (node.nodeType === Node.TEXT_NODE) return translateText(node);
        if (node.nodeType !== Node.ELEMENT_NODE) return undefined;
        translateElement(node);
        const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
        while (walker.nextNode()) {
            const found = walker.currentNode;
            if (found.nodeType === Node.TEXT_NODE) translateText(found);
            else translateElement(found);
        }
        return undefined;
    }

    const observer = new MutationObserver((changes) => {
        if (!words) return;
        for (const change of changes) {
            if (change.type === "characterData") translateText(change.target);
            else change.addedNodes.forEach(translate);
        }
    });

    function speak() {
        const here = root();
        const told = here && here.querySelector("#easyphoto-words");
        if (!told || told.dataset.words === read) return;
        read = told.dataset.words;
        const found = JSON.parse(read);
        if (!Object.keys(found).length) return;
        words = Object.assign(Object.create(null), found);
        translate(here);
        observer.disconnect();
        observer.observe(here, { childList: true, subtree: true, characterData: true });
    }

    setInterval(speak, 200);
    setInterval(remember, 200);
    window.addEventListener("pagehide", remember);
    setInterval(look, LOOK_AGAIN_MS);
})();
