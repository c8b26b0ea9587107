  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let loading = null;

  // Plotly is 5 MB of text: unpacked once, when the first figure is drawn.
  function loadPlotly() {
    if (!loading) loading = (async () => {
      const packed = atob(document.getElementById("plotly").textContent);
      const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
      const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(plain).text();
      document.head.append(script);
    })();
    return loading;
  }
