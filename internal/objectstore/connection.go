package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"quant"
	"quant/internal/lab/place"
)

const (
	amazon         = "https://s3.amazonaws.com"
	connectTimeout = 10 * time.Second
	partTries      = 5
	// metadataHost answers on EC2 machines alone; elsewhere nobody does.
	metadataHost    = "169.254.169.254"
	metadataTimeout = 2 * time.Second
)

// open connects, once.
func (b *Bucket) open(ctx context.Context) (*minio.Core, error) {
	b.opening.Lock()
	defer b.opening.Unlock()
	if b.client != nil {
		return b.client, nil
	}
	endpoint := b.o.At.Endpoint
	if endpoint == "" {
		endpoint = amazon
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "the endpoint of %s is no URL", b.URL(""))
	}
	transport, err := transportTo(b.o.Cloud)
	if err != nil {
		return nil, err
	}
	if b.keys == nil {
		b.keys = newKeyring(b.o.Cloud)
	}
	if _, err := b.credentials(ctx); err != nil {
		return nil, err
	}
	style := minio.BucketLookupDNS
	if b.o.At.PathStyle {
		style = minio.BucketLookupPath
	}
	o := minio.Options{
		Creds: b.keys.chain, Secure: u.Scheme == "https", Region: b.o.At.Region, BucketLookup: style, MaxRetries: 1,
		Transport: &clocked{transport, b},
	}
	c, err := minio.NewCore(u.Host, &o)
	if err == nil {
		o.MaxRetries = partTries
		b.sender, err = minio.NewCore(u.Host, &o)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "%s: %w", b.URL(""), err).WithHint("write it as %s", place.ObjectsURLForm)
	}
	b.client = c
	return c, nil
}

// clocked learns the store's clock from what it answers.
type clocked struct {
	http.RoundTripper
	b *Bucket
}

// RoundTrip is http.RoundTripper's.
func (c *clocked) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		if at, err := http.ParseTime(a.Header.Get("Date")); err == nil {
			c.b.skew.Store(int64(time.Until(at)))
			c.b.asked.Store(true)
		}
	}
	return a, err
}

func transportTo(cloud place.Cloud) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   connectTimeout,
		ExpectContinueTimeout: connectTimeout,
		DisableCompression:    true, // a content is taken as it lies there
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if cloud.CABundle == "" {
		return t, nil
	}
	pem, err := os.ReadFile(cloud.CABundle)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "AWS_CA_BUNDLE: %w", err).WithHint("name a file of certificates in PEM, or leave it unset")
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, quant.Errorf(quant.Usage, "AWS_CA_BUNDLE: %s holds no certificate in PEM", cloud.CABundle).WithHint("name a file of certificates, or leave it unset")
	}
	return t, nil
}

// Credentials let a client in. Session is that of temporary ones, else "".
type Credentials struct {
	KeyID, Secret, Session string
	Expires                time.Time // zero: they do not
}

// Credentials are those of the environment (AWS_ACCESS_KEY_ID and its like), else of the
// AWS client's files (AWS_PROFILE), else of the platform: a web identity, the container,
// the machine. Store: there are none.
func (b *Bucket) Credentials(ctx context.Context) (Credentials, error) {
	b.opening.Lock()
	defer b.opening.Unlock()
	if b.keys == nil {
		b.keys = newKeyring(b.o.Cloud)
	}
	return b.credentials(ctx)
}

// Renewed is Credentials asked for anew, because the store does not take those that were
// given out any more.
func (b *Bucket) Renewed(ctx context.Context) (Credentials, error) {
	b.opening.Lock()
	defer b.opening.Unlock()
	if b.keys == nil {
		b.keys = newKeyring(b.o.Cloud)
	}
	b.keys.forget()
	return b.credentials(ctx)
}

func (b *Bucket) credentials(ctx context.Context) (Credentials, error) {
	c, err := b.keys.get()
	if ctx.Err() != nil {
		return c, context.Cause(ctx)
	}
	if err == nil && c.KeyID == "" {
		err = errors.New("the environment, the AWS client's files and the platform have none")
	}
	if err != nil {
		return c, quant.Errorf(quant.Store, "there are no credentials for %s: %w", b.URL(""), err).
			WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
	}
	if b.o.Know != nil {
		b.o.Know(c.Secret, c.Session)
	}
	return c, nil
}

// keyring holds the credentials as long as they are good.
type keyring struct {
	mu    sync.Mutex
	chain *credentials.Credentials
}

func newKeyring(cloud place.Cloud) *keyring {
	asking := &http.Client{Timeout: 10 * time.Second, Transport: &platform{&http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: metadataTimeout}).DialContext, TLSHandshakeTimeout: connectTimeout,
	}, cloud.NoMetadata}}
	return &keyring{chain: credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: asking, Region: cloud.Region},
	})}
}

// platform asks those who know what a machine or a container may do.
type platform struct {
	http.RoundTripper
	noMetadata bool
}

// RoundTrip is http.RoundTripper's.
func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.noMetadata && r.URL.Hostname() == metadataHost {
		return nil, errors.New("AWS_EC2_METADATA_DISABLED")
	}
	return p.RoundTripper.RoundTrip(r)
}

func (k *keyring) get() (Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, err := k.chain.GetWithContext(nil)
	return Credentials{KeyID: v.AccessKeyID, Secret: v.SecretAccessKey, Session: v.SessionToken, Expires: v.Expiration}, err
}

// forget has the credentials asked for anew.
func (k *keyring) forget() { k.chain.Expire() }
