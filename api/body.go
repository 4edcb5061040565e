package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/ecom-micro/etl/internal/run"
)

// allOf is the whole body of a request.
func allOf(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil && !errors.As(err, new(*http.MaxBytesError)) {
		err = &refusal{status: http.StatusBadRequest, message: "the body did not arrive completely"}
	}
	return body, err
}

// readBody reads a JSON body, which may be absent.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := allOf(w, r)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	if problem := unsupported(r.Header, body); problem != "" {
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 15.5.16
		return nil, &refusal{status: http.StatusUnsupportedMediaType, message: problem}
	}
	return body, nil
}

// compressions are how compressed bodies begin; no JSON does.
var compressions = map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd"}

// unsupported says why a body is no plain JSON in UTF-8, as it is announced.
func unsupported(header http.Header, body []byte) string {
	if coding := strings.Join(header.Values("Content-Encoding"), ", "); coding != "" && !strings.EqualFold(coding, "identity") {
		return "the body must not be compressed: send it without Content-Encoding"
	}
	for name, start := range compressions {
		if bytes.HasPrefix(body, []byte(start)) {
			return "the body is compressed with " + name + ": send it plain"
		}
	}
	kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return "the body must be JSON, and be announced as Content-Type: application/json"
	}
	if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii" {
		return "the body must be UTF-8, and its Content-Type names another charset"
	}
	return ""
}

// withoutBody refuses a body that asks for something where nothing is read from it.
func withoutBody(w http.ResponseWriter, r *http.Request) error {
	body, err := allOf(w, r)
	if err != nil {
		return err
	}
	switch string(bytes.TrimSpace(body)) {
	case "", "{}", "null":
		return nil
	}
	return &run.InvalidError{Fields: []run.FieldError{{Message: "this takes no body: what is in it would not be done"}}}
}
