# Runs where PowerShell and Pester 5 are:
#
#     $env:REMOTE_SUPPORT_PROGRAM = 'path to the program remote-support'
#     Invoke-Pester powershell/tests
#
# Each test has a state directory of its own; nothing of this machine's remote support is touched.

BeforeAll {
    Import-Module -Force ([IO.Path]::Combine($PSScriptRoot, '..', 'RemoteSupport', 'RemoteSupport.psd1'))
}

Describe 'RemoteSupport' {
    BeforeEach {
        $folder = [IO.Path]::Combine($TestDrive, [Guid]::NewGuid().ToString())
        $env:REMOTE_SUPPORT_STATE_DIR = [IO.Path]::Combine($folder, 'state')
        $env:REMOTE_SUPPORT_STORAGE_KEY_FILE = [IO.Path]::Combine($folder, 'key', 'storage.key')
    }

    AfterEach {
        $env:REMOTE_SUPPORT_STATE_DIR = $null
        $env:REMOTE_SUPPORT_STORAGE_KEY_FILE = $null
    }

    It 'grants for the minutes that were asked for, in the published fields' {
        $access = Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 60 -AgreeToRemoteSupportConsent
        $access.State | Should -Be 'Active'
        $access.AccessLevel | Should -Be 'Diagnostics'
        $access.ExpiresAt | Should -BeOfType [DateTimeOffset]
        ($access.ExpiresAt - $access.UpdatedAt).TotalMinutes | Should -BeGreaterThan 59
        ($access.ExpiresAt - $access.UpdatedAt).TotalMinutes | Should -Not -BeGreaterThan 60
        $access.SasCredential | Should -BeNullOrEmpty
    }

    It 'takes 480 minutes by default' {
        (Enable-RemoteSupport Diagnostics -AgreeToRemoteSupportConsent).Minutes | Should -Be 480
    }

    It 'grants nothing with -WhatIf' {
        Enable-RemoteSupport -AccessLevel DiagnosticsRepair -AgreeToRemoteSupportConsent -WhatIf | Should -BeNullOrEmpty
        Get-RemoteSupportAccess | Should -BeNullOrEmpty
        Test-Path -LiteralPath $env:REMOTE_SUPPORT_STATE_DIR | Should -BeFalse
    }

    It 'refuses <_> minutes before anything is asked' -ForEach 59, 20161 {
        { Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes $_ -AgreeToRemoteSupportConsent } | Should -Throw
    }

    It 'takes a consent from the pipeline' {
        $wanted = [pscustomobject]@{ AccessLevel = 'Diagnostics'; ExpireInMinutes = 90 }
        ($wanted | Enable-RemoteSupport -AgreeToRemoteSupportConsent).Minutes | Should -Be 90
    }

    It 'revokes, and again without an error' {
        $null = Enable-RemoteSupport -AccessLevel Diagnostics -AgreeToRemoteSupportConsent
        (Disable-RemoteSupport).Changed | Should -BeTrue
        (Disable-RemoteSupport).Changed | Should -BeFalse
        Get-RemoteSupportAccess | Should -BeNullOrEmpty
        @(Get-RemoteSupportAccess -IncludeExpired)[0].State | Should -Be 'Revoked'
    }

    It 'tells errors with id, category and remedy' {
        Get-RemoteSupportSessionHistory -SessionId ([Guid]::NewGuid()) -ErrorVariable found -ErrorAction SilentlyContinue
        $found[0].FullyQualifiedErrorId | Should -BeLike 'RemoteSupport.not-found*'
        $found[0].CategoryInfo.Category | Should -Be 'ObjectNotFound'
        $found[0].ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
    }

    It 'never shows a credential' {
        $secret = ConvertTo-SecureString -AsPlainText -Force 'Endpoint=sb://relay.example.test/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0;EntityPath=node'
        $all = Enable-RemoteSupport -AccessLevel Diagnostics -SasCredential $secret -AgreeToRemoteSupportConsent -Verbose *>&1 | Out-String
        $all | Should -Not -Match 'c2VjcmV0'
    }

    It 'has the names of the older module' {
        foreach ($name in 'Enable', 'Disable', 'Remove') {
            (Get-Alias "$name-AzStackHCIRemoteSupport").ResolvedCommandName | Should -Be "$name-RemoteSupport"
        }
        (Get-Alias 'Get-AzStackHCIRemoteSupportAccess').ResolvedCommandName | Should -Be 'Get-RemoteSupportAccess'
    }

    It 'has help for each cmdlet' {
        foreach ($command in Get-Command -Module RemoteSupport -CommandType Function) {
            (Get-Help $command.Name).Synopsis | Should -Not -BeNullOrEmpty
        }
    }
}
