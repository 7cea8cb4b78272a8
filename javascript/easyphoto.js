// What gradio alone can't do in all versions that hosts bring: look again while a job runs, and speak the reader's
// language. Works on plain DOM; a WebUI loads it from the extension's folder, the standalone app puts it in the head.
(function () {
    "use strict";
    const LOOK_AGAIN_MS = 1000;
    const ATTRIBUTES = ["placeholder", "aria-label"];
    let words = null; // English -> the reader's language, null for English
    let read = ""; // the words as they were last read

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
        asking.forEach((id) => {
            const button = here.querySelector("#" + CSS.escape(id));
            if (button) button.click();
        });
    }

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
    setInterval(look, LOOK_AGAIN_MS);
})();
