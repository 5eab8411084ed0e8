package mlflow

import (
	"encoding/base64"
	"encoding/json"
)

// pageToken says where the next page begins, in the reference server's form.
func pageToken(offset int) string {
	b, _ := json.Marshal(struct {
		Offset int `json:"offset"`
	}{offset})
	return base64.StdEncoding.EncodeToString(b)
}

// runsToken says where the next page of runs begins: behind a run.
func runsToken(offset int, after string) string {
	b, _ := json.Marshal(struct {
		Offset int    `json:"offset"`
		After  string `json:"after"`
	}{offset, after})
	return base64.StdEncoding.EncodeToString(b)
}

// afterOf is the run behind which the page of a token begins, "" for a token that
// names none.
func afterOf(token string) string {
	var page struct {
		After string `json:"after"`
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(b, &page) != nil {
		return ""
	}
	return page.After
}

// offsetOf is where the page of a token begins; 0 for none.
func offsetOf(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return 0, apiErrorf(invalidParameter, "Invalid page token, could not base64-decode")
	}
	var page struct {
		Offset *int `json:"offset"`
	}
	if json.Unmarshal(b, &page) != nil || page.Offset == nil || *page.Offset < 0 {
		return 0, apiErrorf(invalidParameter, "Invalid page token, parsed value=%s", clean(string(b)))
	}
	return *page.Offset, nil
}
