@{
    RootModule           = 'RemoteSupport.psm1'
    ModuleVersion        = '0.1.0'
    GUID                 = '4b6c0f0e-7f0c-4d0e-9a5b-3c1f6f0b2a77'
    Author               = 'The remote support project'
    CompanyName          = 'The remote support project'
    Copyright            = 'MIT OR Apache-2.0'
    Description          = 'Remote support for Azure Local: consent, revocation and records, by the cmdlets that users know. A thin layer over the program remote-support.'
    PowerShellVersion    = '5.1'
    CompatiblePSEditions = @('Desktop', 'Core')
    FunctionsToExport    = @(
        'Enable-RemoteSupport'
        'Disable-RemoteSupport'
        'Get-RemoteSupportAccess'
        'Get-RemoteSupportSessionHistory'
        'Remove-RemoteSupport'
    )
    CmdletsToExport      = @()
    VariablesToExport    = @()
    AliasesToExport      = @(
        'Enable-AzStackHCIRemoteSupport'
        'Disable-AzStackHCIRemoteSupport'
        'Get-AzStackHCIRemoteSupportAccess'
        'Get-AzStackHCIRemoteSupportSessionHistory'
        'Remove-AzStackHCIRemoteSupport'
    )
    PrivateData          = @{
        PSData = @{
            Tags       = @('AzureLocal', 'AzureStackHCI', 'RemoteSupport', 'Windows', 'Linux')
            LicenseUri = 'https://www.apache.org/licenses/LICENSE-2.0'
        }
    }
}
