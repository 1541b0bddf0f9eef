package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// screenshots names a directory for pictures of the page in a browser, for people to look at.
const screenshots = "REPORT_SCREENSHOTS"

// browserWorks looks for a browser that can be run without a screen, and tries whether it can
// be here: where it does not even show an empty page, that is nothing about ours.
var browserWorks = sync.OnceValues(func() (path string, err error) {
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); name != "" && err == nil {
			break
		}
	}
	if path == "" || err != nil {
		return "", errors.New("there is no chromium, chromium-browser or google-chrome on the PATH: install one (apt-get install chromium), or name one by CHROMIUM")
	}
	profile, err := os.MkdirTemp("", "portrule-browser-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(profile)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+profile, "--dump-dom", "about:blank").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s does not run here: %w\n%s", path, err, out)
	}
	return path, nil
})

// browser returns the path of a browser that works.
func browser(t *testing.T) string {
	t.Helper()
	path, err := browserWorks()
	if err != nil {
		t.Skip(err)
	}
	return path
}

// browse opens a file in the browser, which cannot reach any host, and returns what it
// prints and what it logs. A network log lies beside the file then.
func browse(t *testing.T, path, netLog string, args ...string) (stdout, stderr string) {
	t.Helper()
	// only so that a browser that hangs does not hang the tests
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser(t), append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
		"--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
		"--enable-logging=stderr", "--v=0", "--log-net-log=" + netLog, "--allow-file-access-from-files",
	}, append(args, (&url.URL{Scheme: "file", Path: path}).String())...)...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return out.String(), log.String()
}

// measuring is a page that shows another one as wide as a screen, and writes down how wide
// that is in truth and which drawings have no size: the page itself has no script.
const measuring = `<!DOCTYPE html><body><iframe id="frame" src="%s" style="width:%dpx;height:900px;border:0"></iframe><pre id="out"></pre><script>
document.getElementById("frame").onload = function () {
  const page = this.contentDocument, wide = [], flat = [], plots = page.querySelectorAll("[data-plot]");
  for (const details of page.querySelectorAll("details")) details.open = true;
  for (const plot of plots) {
    const box = plot.getBoundingClientRect();
    if (box.width < 100 || box.height < 40) flat.push(plot.getAttribute("data-plot"));
  }
  const width = page.documentElement.clientWidth;
  for (const element of page.querySelectorAll("body *")) {
    if (element.closest(".scroll, .patterns, svg")) continue;
    if (element.getBoundingClientRect().right > width + 1) wide.push(element.tagName + "." + element.className + " " + element.textContent.slice(0, 40));
  }
  document.getElementById("out").textContent = JSON.stringify({Plots: plots.length, Flat: flat, Wide: wide, ScrollWidth: page.documentElement.scrollWidth, Width: width});
};
</script>`

var measuredOut = regexp.MustCompile(`(?s)<pre id="out">(.*?)</pre>`)

// The page is drawn in a browser: nothing complains, nothing is asked of any host, every
// drawing has a size, and nothing is wider than a phone.
func TestPageInBrowser(t *testing.T) {
	browser(t)
	dir := fullDirectory(t)
	page := filepath.Join(dir, pageFile)
	logs := t.TempDir()

	netLog := filepath.Join(logs, "page.json")
	dom, stderr := browse(t, page, netLog, "--dump-dom")
	want := plotsOf(string(read(t, page)))
	for kind, n := range plotsOf(dom) {
		if n != want[kind] {
			t.Errorf("the browser has %d drawings of %s, want %d", n, kind, want[kind])
		}
		delete(want, kind)
	}
	if len(want) > 0 {
		t.Errorf("the browser does not have the drawings %v", want)
	}
	for line := range strings.Lines(stderr) {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the browser complains: %s", line)
		}
	}
	for _, asked := range requests(t, netLog) {
		if !strings.HasPrefix(asked, "file:") && !strings.HasPrefix(asked, "data:") {
			t.Errorf("the page asks for %s", asked)
		}
	}

	for _, width := range []int{400, 768, 1280} {
		wrapper := filepath.Join(logs, fmt.Sprintf("%d.html", width))
		if err := os.WriteFile(wrapper, fmt.Appendf(nil, measuring, (&url.URL{Scheme: "file", Path: page}).String(), width), 0o600); err != nil {
			t.Fatal(err)
		}
		// some of the time of the page, not of the clock
		out, _ := browse(t, wrapper, filepath.Join(logs, "wrapper.json"), "--dump-dom", "--virtual-time-budget=20000", "--window-size=1400,1000")
		found := measuredOut.FindStringSubmatch(out)
		var got struct {
			Plots, ScrollWidth, Width int
			Flat, Wide                []string
		}
		if found == nil || json.Unmarshal([]byte(html.UnescapeString(found[1])), &got) != nil {
			t.Fatalf("at %d pixels nothing was measured: %.500s", width, out)
		}
		if got.Plots == 0 || len(got.Flat) > 0 {
			t.Errorf("at %d pixels %d drawings, of which these have no size: %q", width, got.Plots, got.Flat)
		}
		if got.ScrollWidth > got.Width || len(got.Wide) > 0 {
			t.Errorf("at %d pixels the page is %d wide, because of %q", width, got.ScrollWidth, got.Wide)
		}
	}
	photograph(t, page, logs)
}

// photograph takes the pictures that are asked for: on a desk and on a phone, light and dark.
func photograph(t *testing.T, page, logs string) {
	t.Helper()
	dir := os.Getenv(screenshots)
	if dir == "" {
		return
	}
	for _, size := range []string{"1280,9000", "400,24000"} {
		for scheme, setting := range map[string]string{"light": "1", "dark": "0"} {
			width, _, _ := strings.Cut(size, ",")
			picture := filepath.Join(dir, "report-"+width+"-"+scheme+".png")
			browse(t, page, filepath.Join(logs, "picture.json"), "--screenshot="+picture, "--window-size="+size, "--blink-settings=preferredColorScheme="+setting)
			t.Logf("%s", picture)
		}
	}
}

// requests are the addresses that a page has asked for, by the browser's log of the network.
// What the browser asks for on its own account has no origin.
func requests(t *testing.T, netLog string) []string {
	t.Helper()
	var log struct {
		Events []struct {
			Params struct{ URL, Initiator string }
		}
	}
	if err := json.Unmarshal(read(t, netLog), &log); err != nil {
		t.Fatalf("read the log of the network: %v", err)
	}
	var all []string
	for _, event := range log.Events {
		if p := event.Params; p.URL != "" && p.Initiator != "" && p.Initiator != "not an origin" {
			all = append(all, p.URL)
		}
	}
	return all
}

// What a page asks for is seen: without that, no request would mean nothing.
func TestRequestsAreSeen(t *testing.T) {
	browser(t)
	dir := t.TempDir()
	page, netLog := filepath.Join(dir, "page.html"), filepath.Join(dir, "log.json")
	if err := os.WriteFile(page, []byte(`<img src="http://example.invalid/image.png">`), 0o600); err != nil {
		t.Fatal(err)
	}
	browse(t, page, netLog, "--dump-dom")
	if got := requests(t, netLog); !slices.Contains(got, "http://example.invalid/image.png") {
		t.Errorf("the requests are %q", got)
	}
}
