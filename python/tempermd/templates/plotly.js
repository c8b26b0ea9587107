  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let loading = null;

  // What is large is on the page gzipped in base64.
  function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  }

  // Plotly is 5 MB of text: unpacked once, when the first figure is drawn.
  function loadPlotly() {
    if (!loading) loading = (async () => {
      const script = document.createElement("script");
      script.textContent = await unpacked(document.getElementById("plotly").textContent).text();
      document.head.append(script);
    })();
    return loading;
  }
