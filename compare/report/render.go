package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Render writes the reports of a run anew, from what is in its directory, and returns where
// they are, a line each.
func Render(dir string) (string, error) {
	result, err := Read(dir)
	if err != nil {
		return "", err
	}
	document := compose(result, readExtras(dir))
	var text, page bytes.Buffer
	document.markdown(&text)
	if err := document.html(&page); err != nil {
		return "", fmt.Errorf("make the report: %w", err)
	}
	markdown, html := filepath.Join(dir, reportFile), filepath.Join(dir, pageFile)
	if err := errors.Join(os.WriteFile(markdown, text.Bytes(), 0o644), os.WriteFile(html, page.Bytes(), 0o644)); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	return markdown + "\n" + html, nil
}

// Refresh writes the reports of a run anew if the directory holds one: what they show has
// come to lie beside it.
func Refresh(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, ResultFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := Render(dir)
	return err
}
