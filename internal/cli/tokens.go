package cli

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/server/token"
)

func tokensCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "tokens",
			Short: "Create, list and revoke the tokens that let clients of quant serve in",
		},
		Sub: []Command{tokensCreate(env), tokensList(env), tokensRevoke(env)},
	}
}

// tokenRow is a token as commands print it.
type tokenRow struct {
	Name       string     `json:"name"`
	Scope      string     `json:"scope"`
	State      string     `json:"state"`
	CreatedAt  quant.Time `json:"created_at"`
	ExpiresAt  quant.Time `json:"expires_at"`
	LastUsedAt quant.Time `json:"last_used_at"`
	RevokedAt  quant.Time `json:"revoked_at"`
}

func tokenRowOf(t quant.Token, now time.Time) tokenRow {
	return tokenRow{
		Name: t.Name, Scope: t.Scope, State: t.State(now),
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt, RevokedAt: t.RevokedAt,
	}
}

// issuedToken is a token that was just made.
type issuedToken struct {
	Name      string     `json:"name"`
	Scope     string     `json:"scope"`
	ExpiresAt quant.Time `json:"expires_at"`
	Token     string     `json:"token"`
}

func (i issuedToken) Sections() []output.Section {
	ends := "until it is revoked"
	if !i.ExpiresAt.IsZero() {
		ends = "until " + i.ExpiresAt.Format(time.DateTime) + "Z"
	}
	return []output.Section{{Lines: []string{i.Token, "", fmt.Sprintf("It is shown this once. %s may %s %s.", i.Name, i.Scope, ends)}}}
}

func tokensCreate(env *Env) Command {
	r := token.Request{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and show it, once",
		Long: `Create a token and show it, once: the lab keeps its digest alone. Clients send it
as Authorization: Bearer, or as the password of Basic, whoever the user is.
Clients of MLflow take it from MLFLOW_TRACKING_TOKEN.`,
		Example: `  export MLFLOW_TRACKING_TOKEN=$(quant tokens create laptop --output json | jq -r .token)
  quant tokens create dashboard --scope read --expires 90d`,
		Args: wantArgs(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			r.Name = args[0]
			made, err := token.Issue(cmd.Context(), meta, r, env.Now(), rand.Reader)
			if err != nil {
				return err
			}
			env.record(tokensChanged())
			return env.Print(issuedToken{Name: made.Name, Scope: made.Scope, ExpiresAt: made.ExpiresAt, Token: made.Secret})
		},
	}
	cmd.Flags().StringVar(&r.Scope, "scope", quant.TokenWrites, "what it lets do: read, or write, which includes it")
	cmd.Flags().Var(newDuration(&r.Expires, 0), "expires", "after how long it expires, such as 90d; 0 is never")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func tokensChanged() quant.RunIO {
	return quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: "tokens", Rows: ptr(int64(1))}
}

func tokensList(env *Env) Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens that are not revoked",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			tokens, err := meta.ListTokens(cmd.Context())
			if err != nil {
				return err
			}
			rows := []tokenRow{}
			for _, t := range tokens {
				if all || t.RevokedAt.IsZero() {
					rows = append(rows, tokenRowOf(t, env.Now()))
				}
			}
			return env.Print(rows)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that are revoked")
	return Command{Command: cmd}
}

// revokedTokens are what tokens revoke prints.
type revokedTokens []tokenRow

func (r revokedTokens) Sections() []output.Section {
	var names []string
	for _, t := range r {
		names = append(names, t.Name)
	}
	return []output.Section{{Lines: []string{"revoked " + strings.Join(names, ", ")}}}
}

func tokensRevoke(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke a token: from now on it lets nobody in",
		Long: `Revoke a token: from now on it lets nobody in, also not into a server that is
running, and browsers that logged in with it are logged out.`,
		Args: wantArgs(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			now := env.Now()
			t, err := meta.RevokeToken(cmd.Context(), args[0], quant.NewTime(now))
			if err != nil {
				return err
			}
			env.record(tokensChanged())
			return env.Print(revokedTokens{tokenRowOf(t, now)})
		},
	}
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
