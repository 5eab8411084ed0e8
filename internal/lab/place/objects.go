package place

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Objects says where the contents of artifacts and logs lie that all machines of a lab
// share: below a prefix of a bucket, or in a folder. One of the two is set.
type Objects struct {
	S3     S3
	Folder string // absolute
}

// S3 is what lies below a prefix of a bucket of Amazon S3, or of a store that speaks its
// protocol. The zero value names none.
type S3 struct {
	Bucket string
	Prefix string // "", or ends with a slash
	// Endpoint is the URL of the store, without a path; "": Amazon's.
	Endpoint string
	Region   string // "": what the store says
	// PathStyle: the bucket is named in the path of requests, not in the host.
	PathStyle bool
}

// Cloud is what clients of S3 read from their environment.
type Cloud struct {
	Endpoint string // AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL
	Region   string // AWS_REGION, AWS_DEFAULT_REGION
	CABundle string // AWS_CA_BUNDLE: the file of the authorities that are trusted
	// NoMetadata: AWS_EC2_METADATA_DISABLED; the metadata of an EC2 machine are not asked.
	NoMetadata bool
}

// ObjectsURLForm is how the URL of shared objects is written.
const ObjectsURLForm = "s3://BUCKET/PREFIX?endpoint=https://HOST or file:///FOLDER"

// The parameters of the URL of a bucket.
const (
	endpointParameter = "endpoint"
	regionParameter   = "region"
	styleParameter    = "use_path_style"
)

const s3Scheme = "s3://"

var bucketForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`) })

// ParseObjects reads the URL of shared objects; what it leaves out, cloud says. The error
// says what is wrong, without what the text may hold of secrets.
func ParseObjects(raw string, cloud Cloud) (Objects, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || strings.ContainsAny(raw, "\x00\n\r"):
		return Objects{}, fmt.Errorf("it is no URL")
	case u.User != nil:
		return Objects{}, fmt.Errorf("it holds who logs in, and keys do not belong in a URL")
	case u.Scheme == "file":
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
			return Objects{}, fmt.Errorf("the folder is not written as file:///FOLDER")
		}
		return Objects{Folder: filepath.Clean(u.Path)}, nil
	case u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "":
		return Objects{}, fmt.Errorf("it begins with neither s3:// nor file://")
	}
	s := S3{Endpoint: cloud.Endpoint, Region: cloud.Region}
	if err := s.setPath(u.Host, u.Path); err != nil {
		return Objects{}, err
	}
	style := ""
	for name, values := range u.Query() {
		switch name {
		case endpointParameter:
			s.Endpoint = values[0]
		case regionParameter:
			s.Region = values[0]
		case styleParameter:
			style = values[0]
		default:
			return Objects{}, fmt.Errorf("parameter %s is not known; it takes %s, %s and %s", name, endpointParameter, regionParameter, styleParameter)
		}
	}
	if err := s.settle(style); err != nil {
		return Objects{}, err
	}
	return Objects{S3: s}, nil
}

// setPath takes the bucket and the prefix over.
func (s *S3) setPath(bucket, prefix string) error {
	if !bucketForm().MatchString(bucket) || strings.Contains(bucket, "..") {
		return fmt.Errorf("the name of the bucket is none: small letters, digits, dots and hyphens, 3 to 63 of them")
	}
	s.Bucket, s.Prefix = bucket, strings.Trim(prefix, "/")
	if s.Prefix != "" {
		if path.Clean(s.Prefix) != s.Prefix || strings.HasPrefix(s.Prefix, "..") || strings.ContainsFunc(s.Prefix, func(r rune) bool { return r < ' ' || strings.ContainsRune("\\*?#'\"<>|[]{}^%`\x7f", r) }) {
			return fmt.Errorf("the prefix below the bucket is no plain path")
		}
		s.Prefix += "/"
	}
	return nil
}

// settle checks the endpoint, and works out what was left open. style is a truth value,
// or "".
func (s *S3) settle(style string) error {
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("the endpoint is not written as https://HOST[:PORT]")
		}
		s.Endpoint = u.Scheme + "://" + u.Host
		s.PathStyle = !strings.HasSuffix(u.Hostname(), ".amazonaws.com")
		if s.Region == "" && s.PathStyle {
			s.Region = "us-east-1" // stores that are not Amazon's take it
		}
	}
	if style != "" {
		pathStyle, err := strconv.ParseBool(style)
		if err != nil {
			return fmt.Errorf("%s is true or false", styleParameter)
		}
		s.PathStyle = pathStyle
	}
	if strings.ContainsFunc(s.Region, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) {
		return fmt.Errorf("the name of the region is none")
	}
	return nil
}

// URL names what lies there, without the store.
func (s S3) URL() string { return s3Scheme + s.Bucket + "/" + s.Prefix }

// Store names the store.
func (s S3) Store() string {
	if s.Endpoint == "" {
		return "Amazon S3"
	}
	return s.Endpoint
}

// OnObjects is the place with the contents of artifacts and logs where a URL says.
func (p Place) OnObjects(objectsURL string, cloud Cloud) Place {
	p.ObjectsURL, p.Cloud = objectsURL, cloud
	return p
}

// Objects is where shared objects lie; the zero value: each machine has its own.
func (p Place) Objects() (Objects, error) {
	if p.ObjectsURL == "" {
		return Objects{}, nil
	}
	return ParseObjects(p.ObjectsURL, p.Cloud)
}
